"""Erasures: whose data is to be deleted, and how much has been."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from core.tables.base import NOW, Time, metadata, one_of

ERASURE_KINDS = ("job", "batch", "user", "project")
"""What an erasure is about."""

erasures = Table(
    "erasures",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, comment="id of the job, batch or project, or the user; null: a user, after the end"),
    Column("batch_id", Text, comment="of a job that is a line: the batch whose files contain it"),
    Column("counts", JSONB, nullable=False, server_default=text("'{}'"), comment="what was deleted, by kind"),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("finished_at", Time),
    CheckConstraint(one_of("kind", ERASURE_KINDS), name="kind"),
    CheckConstraint("subject IS NOT NULL OR finished_at IS NOT NULL", name="subject_until_the_end"),
    Index("ix_erasures_open", "id", postgresql_where=text("finished_at IS NULL")),
    Index("ix_erasures_retention", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
)
