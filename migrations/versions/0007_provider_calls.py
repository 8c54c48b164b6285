"""Provider calls: what was asked of a paid API, written down before it was sent."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "provider_calls",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Text(), nullable=False, comment="no foreign key: what was paid for outlives its job"),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("lease", sa.Uuid(), nullable=False, comment="the attempt's token"),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column(
            "queue",
            sa.Text(),
            nullable=False,
            comment="the provider's limits and failures concern all calls of a queue",
        ),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("n", sa.SmallInteger(), nullable=False, comment="pictures asked for"),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False, comment="SHA-256 of what was sent"),
        sa.Column(
            "started_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("http_status", sa.SmallInteger(), nullable=True),
        sa.Column("provider_request_id", sa.Text(), nullable=True),
        sa.Column("usage", JSONB(), nullable=True, comment="as the provider counts it"),
        sa.Column("cost_usd", sa.Numeric(12, 6), nullable=True, comment="null: not known, or nothing"),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True, comment="the provider wants no call before"),
        sa.CheckConstraint(
            "outcome IN ('succeeded', 'refused', 'limited', 'failed', 'unreadable', 'unknown', 'abandoned')",
            name=op.f("ck_provider_calls_outcome"),
        ),
        sa.CheckConstraint(
            "(outcome IS NULL) = (closed_at IS NULL)", name=op.f("ck_provider_calls_outcome_when_closed")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_provider_calls_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_provider_calls")),
    )
    op.create_index("ix_provider_calls_job", "provider_calls", ["job_id", "started_at"], unique=False)
    op.create_index("ix_provider_calls_queue", "provider_calls", ["queue", "closed_at"], unique=False)
    op.create_index(
        "ix_provider_calls_retry",
        "provider_calls",
        ["queue", "retry_at"],
        unique=False,
        postgresql_where=sa.text("retry_at IS NOT NULL"),
    )
    op.create_index(
        "uq_provider_calls_open",
        "provider_calls",
        ["job_id"],
        unique=True,
        postgresql_where=sa.text("outcome IS NULL"),
    )
