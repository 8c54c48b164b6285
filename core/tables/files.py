"""Files."""

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, Index, Table, Text, text

from core.tables.base import NOW, Time, metadata, one_of

FILE_PURPOSES = ("vision", "batch", "batch_output", "user_data", "fine-tune")
"""What files are for, in OpenAI's words."""

IS_LISTED = text("(is_copy IS NOT TRUE OR purpose <> 'vision')")
"""Whether a list has a file: not if it is an image that a request brought along. The text of an index's predicate."""

files = Table(
    "files",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("storage_key", Text, nullable=False, unique=True),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("expires_at", Time, comment="deleted then; null: kept until its owner deletes it"),
    Column("is_copy", Boolean, comment="of an image in a request; null: not known"),
    CheckConstraint(one_of("purpose", FILE_PURPOSES), name="purposes"),
    Index("ix_files_project", "project_id", "id"),
    Index("ix_files_listed", "project_id", "id", postgresql_where=IS_LISTED),
    Index("ix_files_expiry", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
)
