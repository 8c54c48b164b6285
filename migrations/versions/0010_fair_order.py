"""Fair order: ranks are finish tags, and what goes first in line is one number."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

WAITING = sa.text("status = 'queued'")
RUNNING = sa.text("status = 'in_progress'")
ALIVE = sa.text("status IN ('queued', 'in_progress')")
START_TAG = "start tag of start-time fair queueing"
FINISH_TAG = "finish tag of fair queueing: core.fairness"


def upgrade() -> None:
    for name in ("ix_jobs_line", "ix_jobs_companions", "ix_jobs_fair_finish"):
        op.drop_index(name, "jobs")
    op.execute(sa.text("UPDATE jobs SET fair_rank = fair_finish WHERE status IN ('queued', 'in_progress')"))
    op.drop_column("jobs", "fair_finish")
    op.alter_column("jobs", "fair_rank", comment=FINISH_TAG, existing_comment=START_TAG)
    op.add_column(
        "jobs",
        sa.Column(
            "precedence",
            sa.SmallInteger(),
            sa.Computed("CASE WHEN batch_id IS NULL THEN 0 ELSE 1000 END - priority", persisted=True),
            nullable=False,
            comment="lower goes first: interactive before batch, then higher priority",
        ),
    )
    op.create_index("ix_jobs_line", "jobs", ["queue", "precedence", "fair_rank", "id"], postgresql_where=WAITING)
    op.create_index("ix_jobs_fair_line", "jobs", ["queue", "fair_rank", "id"], postgresql_where=WAITING)
    op.create_index(
        "ix_jobs_companions",
        "jobs",
        ["queue", "batch_key", "precedence", "fair_rank", "id"],
        postgresql_where=WAITING,
    )
    op.create_index("ix_jobs_flow", "jobs", ["queue", "project_id", "precedence", "fair_rank"], postgresql_where=ALIVE)
    op.create_index("ix_jobs_on_device", "jobs", ["queue", "precedence", "fair_rank"], postgresql_where=RUNNING)
