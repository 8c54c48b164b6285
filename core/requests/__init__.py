"""The requests of clients, and how a request becomes a job."""
