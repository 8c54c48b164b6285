"""`/v1/jobs`: submit, get, wait, list, cancel, retry, delete, follow."""
