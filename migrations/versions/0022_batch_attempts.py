"""Batches count how often a batch processor has begun to read them or to write their files.

Revision ID: 0022
Revises: 0021

A column with a constant default changes the catalogue alone, whatever the size of the table.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "batches",
        sa.Column(
            "attempts",
            sa.Integer,
            nullable=False,
            server_default=sa.text("0"),
            comment="claims in this status that may have failed; written before the work begins",
        ),
    )
