"""Batches store how their input file is to be read, and how it was read.

Revision ID: 0025
Revises: 0024

A column with a constant default changes the catalogue alone, whatever the size of the table.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "batches",
        sa.Column(
            "input",
            JSONB,
            nullable=False,
            server_default=sa.text("'{}'"),
            comment="options of its file; how it was read",
        ),
    )
