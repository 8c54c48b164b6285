"""The client in its asynchronous form. `clients/generate.py` makes the synchronous form of it."""
