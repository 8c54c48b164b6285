"""`/v1/batches`: submit, fetch, list, cancel, retry, download."""
