"""Alembic migrations, one noun a revision."""
