"""A priority above the operator's maximum counts within its project: a column of its own, and an index of few rows."""

import sqlalchemy as sa
from alembic import op

from migrations.operations import create_index

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "jobs",
        sa.Column(
            "project_priority",
            sa.SmallInteger(),
            nullable=False,
            server_default=sa.text("0"),
            comment="further priority, within the project",
        ),
    )
    op.alter_column("jobs", "priority", comment="among all projects: core.priorities", existing_comment=None)
    create_index(
        "ix_jobs_project_priority",
        "jobs",
        ["queue", "project_id", "precedence", "project_priority", "fair_rank"],
        postgresql_where=sa.text("status = 'queued' AND project_priority > 0"),
    )
