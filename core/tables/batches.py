"""Batches and their events."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Interval,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from core.event_types import event_names
from core.status import BATCH_FINAL, BatchStatus
from core.tables.base import EVENT_ID, NOW, Time, metadata, one_of

batches = Table(
    "batches",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False, server_default=text("1"), comment="counts changes of this row"),
    # What was asked for
    Column("endpoint", Text, nullable=False),
    Column("input_file_id", Text, comment="null: its prompts came with the request"),
    Column("parameters", JSONB, nullable=False, server_default=text("'{}'"), comment="what all lines share"),
    Column("response_format", Text, nullable=False, server_default=text("'url'"), comment="of lines that do not say"),
    Column("completion_window", Interval, nullable=False),
    Column("output_ttl", Interval, comment="how long the output files are kept; null: as finished jobs are"),
    Column("metadata", JSONB, nullable=False, server_default=text("'{}'")),
    Column("webhook", JSONB, comment="the batch's own receiver: url, events, secret"),
    Column("retried_from", Text, comment="the batch whose failed lines these are"),
    Column("api_key_id", Text, comment="the key that submitted it"),
    Column("input", JSONB, nullable=False, server_default=text("'{}'"), comment="options of its file; how it was read"),
    Column("traceparent", Text, comment="W3C's context of its request; null: no tracing"),
    # What was found when it was read
    Column("total", Integer, nullable=False, server_default=text("0"), comment="lines"),
    Column("model", Text, comment="null: not known yet, or several"),
    Column("cost", Double, nullable=False, server_default=text("0"), comment="estimated device-seconds"),
    Column("errors", JSONB, comment="why it failed: line, code, param, message of each"),
    # Who reads it or writes its files
    Column("lease", Uuid, comment="the token that these writes must show; fresh per claim"),
    Column("lease_expires_at", Time),
    Column(
        "attempts",
        Integer,
        nullable=False,
        server_default=text("0"),
        comment="claims in this status that may have failed; written before the work begins",
    ),
    # How it ended
    Column("counts", JSONB, comment="how its jobs ended, by status; until it is final they are counted"),
    Column("output_file_id", Text),
    Column("error_file_id", Text),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("expires_at", Time, nullable=False, comment="the end of the completion window"),
    *(Column(f"{status}_at", Time) for status in BatchStatus if status is not BatchStatus.VALIDATING),
    CheckConstraint(one_of("status", tuple(BatchStatus)), name="status"),
    CheckConstraint("(lease IS NULL) = (lease_expires_at IS NULL)", name="lease_has_an_end"),
    CheckConstraint("(status = 'failed') = (errors IS NOT NULL)", name="errors_when_failed"),
    CheckConstraint(f"({one_of('status', BATCH_FINAL)}) = (counts IS NOT NULL)", name="counts_when_final"),
    Index("ix_batches_project", "project_id", "id"),
    Index("ix_batches_open", "project_id", postgresql_where=text(f"NOT {one_of('status', BATCH_FINAL)}")),
    Index("uq_batches_retried_from", "retried_from", unique=True, postgresql_where=text("retried_from IS NOT NULL")),
    Index("ix_batches_retention", "created_at", postgresql_where=text(one_of("status", BATCH_FINAL))),
)

batch_events = Table(
    "batch_events",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("id", Text, nullable=False, unique=True, server_default=EVENT_ID),
    Column("batch_id", Text, ForeignKey("batches.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),
    Column("data", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Index("ix_batch_events_batch", "batch_id", "seq"),
)
Index(
    "uq_batch_events_final",
    batch_events.c.batch_id,
    unique=True,
    postgresql_where=text(one_of("type", event_names("batch", final=True))),
)
