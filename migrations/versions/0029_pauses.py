"""Queues and workers that an operator has paused.

Revision ID: 0029
Revises: 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True, comment="a queue; or a worker, or the host of workers"),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("clock_timestamp()")
        ),
        sa.CheckConstraint("kind IN ('queue', 'worker')", name=op.f("ck_pauses_kind")),
        sa.CheckConstraint("state IN ('paused', 'draining')", name=op.f("ck_pauses_state")),
    )
