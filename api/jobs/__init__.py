"""`/v1/jobs`: submit, fetch, wait, list, cancel, retry, delete, follow."""
