"""Jobs, and the events of their moves."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "version", sa.Integer(), server_default=sa.text("1"), nullable=False, comment="counts changes; the ETag"
        ),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("negative_prompt", sa.Text(), nullable=True),
        sa.Column("n", sa.SmallInteger(), nullable=False),
        sa.Column("size", sa.Text(), nullable=False, comment="WIDTHxHEIGHT, px"),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("guidance_scale", sa.Double(), nullable=False),
        sa.Column(
            "seed", sa.BigInteger(), nullable=False, comment="of the first image; image i has seed + i, modulo 2**32"
        ),
        sa.Column("output_format", sa.Text(), nullable=False),
        sa.Column("output_compression", sa.SmallInteger(), nullable=True),
        sa.Column("metadata", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("retried_from", sa.Text(), nullable=True, comment="the job this one repeats"),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column(
            "batch_key", sa.Text(), nullable=False, comment="jobs with the same key can share a pass over the device"
        ),
        sa.Column(
            "microbatch", sa.SmallInteger(), nullable=False, comment="images that go through the device together"
        ),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False, comment="estimated device-seconds"),
        sa.Column("fair_rank", sa.Double(), nullable=False, comment="start tag of start-time fair queueing"),
        sa.Column("fair_finish", sa.Double(), sa.Computed("fair_rank + cost", persisted=True), nullable=True),
        sa.Column(
            "not_before", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, comment="expires if it still waits then"),
        sa.Column(
            "lease", sa.Uuid(), nullable=True, comment="the token that every worker write must show; fresh per claim"
        ),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "attempt_deadline", sa.DateTime(timezone=True), nullable=True, comment="no renewal reaches beyond it"
        ),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="claims; never falls"),
        sa.Column(
            "failures",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="attempts that ended in an error",
        ),
        sa.Column(
            "crashes", sa.Integer(), server_default=sa.text("0"), nullable=False, comment="attempts whose lease ran out"
        ),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error_code", sa.Text(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True, comment="of the latest attempt"),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(status = 'failed') = (error_code IS NOT NULL)", name=op.f("ck_jobs_error_when_failed")),
        sa.CheckConstraint(
            "(status = 'in_progress') = (lease IS NOT NULL)", name=op.f("ck_jobs_lease_while_in_progress")
        ),
        sa.CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled', 'expired')) = (finished_at IS NOT NULL)",
            name=op.f("ck_jobs_finished_when_final"),
        ),
        sa.CheckConstraint(
            "status IN ('queued', 'in_progress', 'completed', 'failed', 'cancelled', 'expired')",
            name=op.f("ck_jobs_status"),
        ),
        sa.CheckConstraint("(lease IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_jobs_lease_has_an_end")),
        sa.CheckConstraint("n BETWEEN 1 AND 64", name=op.f("ck_jobs_n")),
        sa.CheckConstraint("seed BETWEEN 0 AND 4294967295", name=op.f("ck_jobs_seed")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_jobs_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        postgresql_with={"autovacuum_vacuum_scale_factor": "0.01", "fillfactor": "80"},
    )
    op.create_index(
        "ix_jobs_companions",
        "jobs",
        ["queue", "batch_key", sa.literal_column("priority DESC"), "fair_rank", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index(
        "ix_jobs_expiry", "jobs", ["expires_at"], unique=False, postgresql_where=sa.text("status = 'queued'")
    )
    op.create_index(
        "ix_jobs_fair_finish",
        "jobs",
        ["queue", "project_id", "fair_finish"],
        unique=False,
        postgresql_where=sa.text("status IN ('queued', 'in_progress')"),
    )
    op.create_index(
        "ix_jobs_lease", "jobs", ["lease"], unique=False, postgresql_where=sa.text("status = 'in_progress'")
    )
    op.create_index(
        "ix_jobs_lease_end",
        "jobs",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("status = 'in_progress'"),
    )
    op.create_index(
        "ix_jobs_line",
        "jobs",
        ["queue", sa.literal_column("priority DESC"), "fair_rank", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'queued'"),
    )
    op.create_index("ix_jobs_project", "jobs", ["project_id", "id"], unique=False)
    op.create_index(
        "ix_jobs_retention", "jobs", ["finished_at"], unique=False, postgresql_where=sa.text("finished_at IS NOT NULL")
    )
    op.create_index(
        "uq_jobs_retried_from",
        "jobs",
        ["retried_from"],
        unique=True,
        postgresql_where=sa.text("retried_from IS NOT NULL"),
    )
    op.create_table(
        "job_events",
        sa.Column(
            "seq", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="SSE id; rises within a job"
        ),
        sa.Column(
            "id",
            sa.Text(),
            server_default=sa.text(
                "'evt_' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || left(replace(gen_random_uuid()::text, '-', ''), 20)"
            ),
            nullable=False,
        ),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_job_events_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_job_events")),
        sa.UniqueConstraint("id", name=op.f("uq_job_events_id")),
    )
    op.create_index("ix_job_events_job", "job_events", ["job_id", "seq"], unique=False)
    op.create_index(
        "uq_job_events_final",
        "job_events",
        ["job_id"],
        unique=True,
        postgresql_where=sa.text("type IN ('job.completed', 'job.failed', 'job.cancelled', 'job.expired')"),
    )
