"""Fine-tuning: the jobs, and the models that they make."""
