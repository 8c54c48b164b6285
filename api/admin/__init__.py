"""Calls for operators: queues, workers and their pauses."""
