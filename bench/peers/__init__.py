"""Other ways to serve the same model, for comparison. `python -m bench.peers` measures them beside Safelight."""
