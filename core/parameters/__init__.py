"""The parameters of a job, each with its type and its check."""
