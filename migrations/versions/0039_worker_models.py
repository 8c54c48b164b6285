"""Workers report the state of each model: loaded, loading, or why it cannot be loaded.

Revision ID: 0039
Revises: 0038

Adding a column without a default changes the catalogue alone. Workers of an earlier version leave it null.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("workers", sa.Column("models", JSONB, comment="by id: whether it is loaded, or why it cannot be"))
