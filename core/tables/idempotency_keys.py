"""Idempotency keys."""

from sqlalchemy import Column, ForeignKey, Index, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from core.tables.base import NOW, Time, metadata

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("project_id", Text, ForeignKey("projects.id"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column(
        "fingerprint",
        LargeBinary,
        nullable=False,
        comment="SHA-256 of method, path and the validated request",
    ),
    Column("response", JSONB, nullable=False),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("expires_at", Time, nullable=False),
    Index("ix_idempotency_keys_expires_at", "expires_at"),
    # The erasure: the responses about a job or a batch
    Index("ix_idempotency_keys_subject", text("(response ->> 'id')")),
)
