"""The worker of fine-tuning jobs: reads their training files, and trains. `python -m worker.training` runs it."""
