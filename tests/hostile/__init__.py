"""Attacks by clients, and what the other clients notice of them."""
