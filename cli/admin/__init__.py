"""`safelight admin`: the commands of operators."""
