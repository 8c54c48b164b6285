"""The outbox of webhooks: deliveries, their claims, signatures. Below jobs: it imports no job code."""
