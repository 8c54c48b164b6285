"""HTTP in, JSON out. Async; holds no SQL, no torch, no Celery."""
