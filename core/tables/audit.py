"""The audit log: who changed what that matters for security. No foreign keys: it outlives what it is about."""

from sqlalchemy import Column, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from core.tables.base import NOW, Time, metadata

AUDIT_ID = text(
    "'audit_log-' || lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0')"
    " || left(replace(gen_random_uuid()::text, '-', ''), 20)"
)

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Text, primary_key=True, server_default=AUDIT_ID),
    Column("type", Text, nullable=False),
    Column("actor", Text, nullable=False, comment="api_key, command or none"),
    Column("api_key_id", Text, comment="the key of the actor"),
    Column("project_id", Text, comment="null: not about one project"),
    Column("subject_id", Text, comment="what the event is about: a key, an endpoint, a file"),
    Column("data", JSONB, nullable=False, server_default=text("'{}'")),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Index("ix_audit_events_retention", "created_at"),
)
