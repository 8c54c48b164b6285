"""Webhooks: who is told of events, what is on its way, what was tried."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NOW = sa.text("clock_timestamp()")
Time = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("webhook", JSONB(), comment="the job's own receiver: url, events, secret"))
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("event_types", JSONB(), nullable=False, comment="which events it wants"),
        sa.Column("secret", sa.Text(), nullable=False, comment="signs; in clear, as no hash could"),
        sa.Column("previous_secret", sa.Text(), comment="signs too, until the time below"),
        sa.Column("previous_secret_until", Time),
        sa.Column("failing_since", Time, comment="nothing has got through since then; null: the last delivery did"),
        sa.Column("disabled_at", Time),
        sa.Column("disabled_reason", sa.Text()),
        sa.Column("created_at", Time, nullable=False, server_default=NOW),
        sa.Column("updated_at", Time, nullable=False, server_default=NOW),
        sa.CheckConstraint(
            "(disabled_at IS NULL) = (disabled_reason IS NULL)", name=op.f("ck_webhook_endpoints_reason_when_disabled")
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_webhook_endpoints_project_id_projects")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
    )
    op.create_index("ix_webhook_endpoints_project", "webhook_endpoints", ["project_id", "id"])
    op.create_table(
        "webhook_deliveries",
        sa.Column(
            "id",
            sa.Text(),
            nullable=False,
            server_default=sa.text(
                "'whd_' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')"
                " || left(replace(gen_random_uuid()::text, '-', ''), 20)"
            ),
        ),
        sa.Column(
            "seq", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="the order of a job's events"
        ),
        sa.Column("project_id", sa.Text(), nullable=False, comment="its job's"),
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column(
            "endpoint_id",
            sa.Text(),
            comment="null: the job's own receiver. No foreign key: an endpoint deleted just now must not stop a job",
        ),
        sa.Column(
            "lane",
            sa.Text(),
            nullable=False,
            comment="what takes turns: the endpoint, or the origin of a job's own URL",
        ),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("event_at", Time, nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default=sa.text("'pending'")),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column(
            "due_at", Time, nullable=False, server_default=NOW, comment="of one being sent: when it is due again"
        ),
        sa.Column("lease", sa.Uuid(), comment="the token of who sends it"),
        sa.Column("status_code", sa.SmallInteger(), comment="of the latest attempt"),
        sa.Column("error_code", sa.Text(), comment="of the latest attempt"),
        sa.Column("created_at", Time, nullable=False, server_default=NOW),
        sa.Column("finished_at", Time),
        sa.CheckConstraint("status IN ('pending', 'delivered', 'failed')", name=op.f("ck_webhook_deliveries_status")),
        sa.CheckConstraint(
            "(status = 'pending') = (finished_at IS NULL)", name=op.f("ck_webhook_deliveries_finished_when_final")
        ),
        sa.CheckConstraint(
            "lease IS NULL OR status = 'pending'", name=op.f("ck_webhook_deliveries_lease_while_pending")
        ),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], ondelete="CASCADE", name=op.f("fk_webhook_deliveries_job_id_jobs")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    for name, columns, where in (
        ("lane", ["lane", "due_at"], "status = 'pending'"),
        ("sending", ["lane"], "lease IS NOT NULL"),
        ("job", ["job_id", "lane", "seq"], None),
        ("endpoint", ["endpoint_id", "id"], "endpoint_id IS NOT NULL"),
    ):
        op.create_index(
            f"ix_webhook_deliveries_{name}",
            "webhook_deliveries",
            columns,
            postgresql_where=None if where is None else sa.text(where),
        )
    op.create_table(
        "webhook_attempts",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("started_at", Time, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("status_code", sa.SmallInteger(), comment="null: no answer came"),
        sa.Column("error_code", sa.Text()),
        sa.Column("answer", sa.Text(), comment="the beginning of what the receiver said"),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["webhook_deliveries.id"],
            ondelete="CASCADE",
            name=op.f("fk_webhook_attempts_delivery_id_webhook_deliveries"),
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("pk_webhook_attempts")),
    )
