"""Webhook endpoints, what is on its way to them, what was tried."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from core.status import DeliveryStatus
from core.tables.base import NOW, Time, metadata, one_of

webhook_endpoints = Table(
    "webhook_endpoints",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("event_types", JSONB, nullable=False, comment="which events it wants"),
    Column("secret", Text, nullable=False, comment="signs; in clear, as no hash could"),
    Column("previous_secret", Text, comment="signs too, until the time below"),
    Column("previous_secret_until", Time),
    Column("failing_since", Time, comment="nothing has got through since then; null: the last delivery did"),
    Column("disabled_at", Time),
    Column("disabled_reason", Text),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("updated_at", Time, nullable=False, server_default=NOW),
    CheckConstraint("(disabled_at IS NULL) = (disabled_reason IS NULL)", name="reason_when_disabled"),
    Index("ix_webhook_endpoints_project", "project_id", "id"),
)

webhook_deliveries = Table(
    "webhook_deliveries",
    metadata,
    Column(
        "id",
        Text,
        primary_key=True,
        server_default=text(
            "'whd_' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')"
            " || left(replace(gen_random_uuid()::text, '-', ''), 20)"
        ),
    ),
    Column("seq", BigInteger, Identity(always=True), nullable=False, comment="the order of a job's events"),
    Column("project_id", Text, nullable=False, comment="its job's or batch's"),
    Column("job_id", Text, ForeignKey("jobs.id", ondelete="CASCADE")),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), comment="of an event about a batch"),
    Column(
        "endpoint_id",
        Text,
        comment="null: the job's own receiver. No foreign key: an endpoint deleted just now must not stop a job",
    ),
    Column(
        "lane",
        Text,
        key="destination",
        nullable=False,
        comment="what takes turns: the endpoint, or the origin of a job's own URL",
    ),
    Column("event_id", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("event_at", Time, nullable=False),
    Column("status", Text, nullable=False, server_default=text("'pending'")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("due_at", Time, nullable=False, server_default=NOW, comment="of one being sent: when it is due again"),
    Column("lease", Uuid, comment="the token of who sends it"),
    Column("status_code", SmallInteger, comment="of the latest attempt"),
    Column("error_code", Text, comment="of the latest attempt"),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("finished_at", Time),
    CheckConstraint(one_of("status", tuple(DeliveryStatus)), name="status"),
    CheckConstraint("(status = 'pending') = (finished_at IS NULL)", name="finished_when_final"),
    CheckConstraint("lease IS NULL OR status = 'pending'", name="lease_while_pending"),
    CheckConstraint("(job_id IS NULL) <> (batch_id IS NULL)", name="of_a_job_or_a_batch"),
    Index("ix_webhook_deliveries_lane", "destination", "due_at", postgresql_where=text("status = 'pending'")),
    Index("ix_webhook_deliveries_sending", "destination", postgresql_where=text("lease IS NOT NULL")),
    Index("ix_webhook_deliveries_job", "job_id", "destination", "seq"),
    Index("ix_webhook_deliveries_batch", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
    # The operator: what has failed for good
    Index("ix_webhook_deliveries_failed", "id", postgresql_where=text("status = 'failed'")),
    Index("ix_webhook_deliveries_endpoint", "endpoint_id", "id", postgresql_where=text("endpoint_id IS NOT NULL")),
)

webhook_attempts = Table(
    "webhook_attempts",
    metadata,
    Column("delivery_id", Text, ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("started_at", Time, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("status_code", SmallInteger, comment="null: no answer came"),
    Column("error_code", Text),
    Column("answer", Text, comment="the beginning of what the receiver said"),
)
