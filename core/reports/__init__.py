"""What operators and projects ask about jobs, queues, storage and use."""
