"""Batches: what a client may ask, the input file, validation, transitions, JSON."""
