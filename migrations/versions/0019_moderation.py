"""Jobs keep the verdict of their moderation.

Revision ID: 0019
Revises: 0018

Adding a column without a default changes the catalogue alone, whatever the size of the table.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column("moderation", JSONB, comment="core.moderation.Verdict; null: no check ran"),
    )
