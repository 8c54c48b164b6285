"""Jobs and batches say which API key submitted them.

Revision ID: 0020
Revises: 0019

Adding a column without a default changes the catalogue alone, whatever the size of the table. No index, as no list
selects by it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "api_key_id",
            sa.Text,
            comment="the key that submitted it; null: no key was needed, or version 0.1 wrote it",
        ),
    )
    op.add_column("batches", sa.Column("api_key_id", sa.Text, comment="the key that submitted it"))
