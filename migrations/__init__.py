"""Alembic migrations, one change a revision. `upgrade` brings a database to the newest (docs/decisions/0012)."""

from migrations.runner import MigrationError, Patience, newest, upgrade

__all__ = ["MigrationError", "Patience", "newest", "upgrade"]
