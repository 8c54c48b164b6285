"""Batches keep the trace that they belong to, for OpenTelemetry.

Revision ID: 0036
Revises: 0035

Adding a column without a default changes the catalogue alone, whatever the size of the table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("traceparent", sa.Text, comment="W3C's context of its request; null: no tracing")
    op.add_column("batches", column)
