"""`/v1/webhook_endpoints` and the log of deliveries."""
