"""Erasures: delete all that belongs to a job, a batch, an end user or a project. `worker/sweep/erase.py` runs them."""
