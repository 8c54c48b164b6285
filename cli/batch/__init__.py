"""`safelight batch` and `safelight batches`: submit, follow, resume, download."""
