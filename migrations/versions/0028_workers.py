"""Workers that run, and the queues that they serve.

Revision ID: 0028
Revises: 0027
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("name", sa.Text(), primary_key=True, comment="host and pid"),
        sa.Column("queues", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("is_ready", sa.Boolean(), nullable=False, comment="false: it loads its first model"),
        sa.Column(
            "expires_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="the worker renews it, as the lease of a job",
        ),
        postgresql_with={"fillfactor": "50"},
    )
