"""Alembic's entry: runs the revisions on the connection of `migrations.runner`, each in its own transaction."""

from alembic import context

from core.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, transaction_per_migration=True
)
with context.begin_transaction():
    context.run_migrations()
