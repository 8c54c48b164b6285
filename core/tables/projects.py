"""Projects and their keys."""

from sqlalchemy import Column, ForeignKey, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY

from core.scopes import DEFAULT_SCOPES
from core.tables.base import NOW, Time, metadata

DEFAULT_PROJECT = "proj_default"
"""The project of requests without a key; the first migration creates it."""

projects = Table(
    "projects",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", Time, nullable=False, server_default=NOW),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project_id", Text, ForeignKey("projects.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("prefix", Text, nullable=False, comment="first characters of the key, to recognise it by"),
    Column(
        "hash",
        LargeBinary,
        nullable=False,
        unique=True,
        comment="SHA-256 of the key; the key itself is not kept",
    ),
    Column("created_at", Time, nullable=False, server_default=NOW),
    Column("revoked_at", Time),
    Column(
        "scopes",
        ARRAY(Text),
        nullable=False,
        server_default=text(f"'{{{','.join(DEFAULT_SCOPES)}}}'"),
        comment="what the key may be used for: core.scopes",
    ),
    Column("expires_at", Time, comment="null: never"),
    Column("last_used_at", Time, comment="written at most once a minute"),
)
