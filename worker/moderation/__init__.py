"""Checks of prompts and images before and after generation (docs/06-operations.md, Moderation)."""
