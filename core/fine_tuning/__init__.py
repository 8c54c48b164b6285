"""Fine-tuning: jobs that train a LoRA of a model on the images of a project, and the models that they make."""
