"""Trains a LoRA of a model: `trainer.py` has the loop's step and its state, and each family its objective."""
