"""Alembic's entry: runs the revisions against SAFELIGHT_DATABASE_URL."""

from alembic import context

from core.db import Database
from core.settings import Settings
from core.tables import metadata


def run() -> None:
    """Run the revisions in one transaction, under a lock, so that two starting processes do not migrate at once."""
    database = Database(Settings(), name="safelight-migrate")
    with database.engine.connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
        with context.begin_transaction():
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7305512)")  # an arbitrary constant of ours
            context.run_migrations()
    database.close()


run()
