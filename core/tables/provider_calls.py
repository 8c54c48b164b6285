"""Calls to a provider."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from core.status import CallOutcome
from core.tables.base import NOW, Time, metadata, one_of

provider_calls = Table(
    "provider_calls",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("job_id", Text, nullable=False, comment="no foreign key: what was paid for outlives its job"),
    Column("attempt", Integer, nullable=False),
    Column("lease", Uuid, nullable=False, comment="the attempt's token"),
    Column("worker", Text, nullable=False),
    Column("queue", Text, nullable=False, comment="the provider's limits and failures concern all calls of a queue"),
    Column("model", Text, nullable=False),
    Column("n", SmallInteger, nullable=False, comment="images asked for"),
    Column("request_hash", LargeBinary, nullable=False, comment="SHA-256 of what was sent"),
    Column("started_at", Time, nullable=False, server_default=NOW),
    # How it ended; nothing of it is known while the call is under way
    Column("closed_at", Time),
    Column("outcome", Text),
    Column("error_code", Text),
    Column("http_status", SmallInteger),
    Column("provider_request_id", Text),
    Column("usage", JSONB, comment="as the provider counts it"),
    Column("cost_usd", Numeric(12, 6), comment="null: not known, or nothing"),
    Column("retry_at", Time, comment="the provider wants no call before"),
    CheckConstraint(one_of("outcome", tuple(CallOutcome)), name="outcome"),
    CheckConstraint("(outcome IS NULL) = (closed_at IS NULL)", name="outcome_when_closed"),
    Index("ix_provider_calls_job", "job_id", "started_at"),
    Index("ix_provider_calls_queue", "queue", "closed_at"),
    Index("ix_provider_calls_retry", "queue", "retry_at", postgresql_where=text("retry_at IS NOT NULL")),
    Index("uq_provider_calls_open", "job_id", unique=True, postgresql_where=text("outcome IS NULL")),
)
