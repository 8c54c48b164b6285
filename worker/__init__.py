"""Celery in, images out. Synchronous; every status change goes through a verb in `core.jobs`."""
