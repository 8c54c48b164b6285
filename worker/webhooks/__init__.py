"""The webhook deliverer."""
