"""Webhook endpoints and the events that they receive."""
