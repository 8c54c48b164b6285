"""`safelight batch` and `safelight batches`: submit, follow, resume and download batches."""
