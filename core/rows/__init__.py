"""The rows that statements return."""
