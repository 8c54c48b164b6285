"""What a client may ask for, and how a request becomes a job."""
