"""A worker reserves the jobs of its next micro-batch shortly before it begins them.

Revision ID: 0035
Revises: 0034

Adding columns without a default changes the catalogue alone. Workers of an earlier version may claim reserved jobs; the
worker that reserved them then does without them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    by = sa.Column("reserved_by", sa.Uuid, comment="token of a worker that will begin it soon: core.reservations")
    op.add_column("jobs", by)
    until = sa.Column("reserved_until", sa.DateTime(timezone=True), comment="until then no other worker claims it")
    op.add_column("jobs", until)
