"""The generation worker: claims micro-batches, generates images, stores them."""
