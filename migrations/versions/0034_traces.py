"""Jobs keep the trace that they belong to, for OpenTelemetry.

Revision ID: 0034
Revises: 0033

Adding a column without a default changes the catalogue alone, whatever the size of the table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("jobs", sa.Column("traceparent", sa.Text, comment="W3C's context of its request; null: no tracing"))
