"""Batches: many jobs submitted together, with counts and an output file."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

NOW = sa.text("clock_timestamp()")
Time = sa.DateTime(timezone=True)
EVENT_ID = sa.text(
    "'evt_' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')"
    " || left(replace(gen_random_uuid()::text, '-', ''), 20)"
)
FINAL = "status IN ('failed', 'completed', 'expired', 'cancelled')"


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column(
            "version", sa.Integer(), nullable=False, server_default=sa.text("1"), comment="counts changes of this row"
        ),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("input_file_id", sa.Text(), comment="null: its prompts came with the request"),
        sa.Column(
            "parameters", JSONB(), nullable=False, server_default=sa.text("'{}'"), comment="what all lines share"
        ),
        sa.Column(
            "response_format",
            sa.Text(),
            nullable=False,
            server_default=sa.text("'url'"),
            comment="of lines that do not say",
        ),
        sa.Column("completion_window", sa.Interval(), nullable=False),
        sa.Column(
            "output_ttl", sa.Interval(), comment="how long the output files are kept; null: as finished jobs are"
        ),
        sa.Column("metadata", JSONB(), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("webhook", JSONB(), comment="the batch's own receiver: url, events, secret"),
        sa.Column("retried_from", sa.Text(), comment="the batch whose failed lines these are"),
        sa.Column("total", sa.Integer(), nullable=False, server_default=sa.text("0"), comment="lines"),
        sa.Column("model", sa.Text(), comment="null: not known yet, or several"),
        sa.Column("cost", sa.Double(), nullable=False, server_default=sa.text("0"), comment="estimated device-seconds"),
        sa.Column("errors", JSONB(), comment="why it failed: line, code, param, message of each"),
        sa.Column("lease", sa.Uuid(), comment="the token that these writes must show; fresh per claim"),
        sa.Column("lease_expires_at", Time),
        sa.Column("counts", JSONB(), comment="how its jobs ended, by status; until it is final they are counted"),
        sa.Column("output_file_id", sa.Text()),
        sa.Column("error_file_id", sa.Text()),
        sa.Column("created_at", Time, nullable=False, server_default=NOW),
        sa.Column("expires_at", Time, nullable=False, comment="the end of the completion window"),
        *(
            sa.Column(f"{status}_at", Time)
            for status in (
                "failed",
                "in_progress",
                "cancelling",
                "finalizing",
                "completed",
                "expired",
                "cancelled",
            )
        ),
        sa.CheckConstraint(
            "status IN ('validating', 'failed', 'in_progress', 'cancelling', 'finalizing', 'completed', 'expired', "
            "'cancelled')",
            name=op.f("ck_batches_status"),
        ),
        sa.CheckConstraint("(lease IS NULL) = (lease_expires_at IS NULL)", name=op.f("ck_batches_lease_has_an_end")),
        sa.CheckConstraint("(status = 'failed') = (errors IS NOT NULL)", name=op.f("ck_batches_errors_when_failed")),
        sa.CheckConstraint(f"({FINAL}) = (counts IS NOT NULL)", name=op.f("ck_batches_counts_when_final")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_batches_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index("ix_batches_project", "batches", ["project_id", "id"])
    op.create_index("ix_batches_open", "batches", ["project_id"], postgresql_where=sa.text(f"NOT {FINAL}"))
    op.create_index(
        "uq_batches_retried_from",
        "batches",
        ["retried_from"],
        unique=True,
        postgresql_where=sa.text("retried_from IS NOT NULL"),
    )
    op.create_index("ix_batches_retention", "batches", ["created_at"], postgresql_where=sa.text(FINAL))

    op.create_table(
        "batch_events",
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("id", sa.Text(), nullable=False, server_default=EVENT_ID),
        sa.Column("batch_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", JSONB(), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("created_at", Time, nullable=False, server_default=NOW),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batches.id"], ondelete="CASCADE", name=op.f("fk_batch_events_batch_id_batches")
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_batch_events")),
        sa.UniqueConstraint("id", name=op.f("uq_batch_events_id")),
    )
    op.create_index("ix_batch_events_batch", "batch_events", ["batch_id", "seq"])
    op.create_index(
        "uq_batch_events_final",
        "batch_events",
        ["batch_id"],
        unique=True,
        postgresql_where=sa.text("type IN ('batch.failed', 'batch.completed', 'batch.expired', 'batch.cancelled')"),
    )

    op.add_column("jobs", sa.Column("batch_id", sa.Text()))
    op.add_column("jobs", sa.Column("batch_index", sa.Integer(), comment="which line of the batch, from 0"))
    op.add_column("jobs", sa.Column("custom_id", sa.Text(), comment="the owner's name for the line"))
    op.add_column(
        "jobs",
        sa.Column("response_format", sa.Text(), comment="how the batch's output shows the pictures: url or b64_json"),
    )
    op.create_check_constraint(op.f("ck_jobs_line_of_a_batch"), "jobs", "(batch_id IS NULL) = (batch_index IS NULL)")
    op.create_index(
        "uq_jobs_batch",
        "jobs",
        ["batch_id", "batch_index"],
        unique=True,
        postgresql_include=["status"],
        postgresql_where=sa.text("batch_id IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_batch_alive",
        "jobs",
        ["batch_id"],
        postgresql_where=sa.text("batch_id IS NOT NULL AND status IN ('queued', 'in_progress')"),
    )

    op.alter_column("webhook_deliveries", "job_id", nullable=True)
    op.alter_column("webhook_deliveries", "project_id", comment="its job's or batch's", existing_comment="its job's")
    op.add_column("webhook_deliveries", sa.Column("batch_id", sa.Text(), comment="of an event about a batch"))
    op.create_foreign_key(
        op.f("fk_webhook_deliveries_batch_id_batches"),
        "webhook_deliveries",
        "batches",
        ["batch_id"],
        ["id"],
        ondelete="CASCADE",
    )
    op.create_check_constraint(
        op.f("ck_webhook_deliveries_of_a_job_or_a_batch"),
        "webhook_deliveries",
        "(job_id IS NULL) <> (batch_id IS NULL)",
    )
    op.create_index(
        "ix_webhook_deliveries_batch",
        "webhook_deliveries",
        ["batch_id"],
        postgresql_where=sa.text("batch_id IS NOT NULL"),
    )
