"""Files of a project: what it uploaded, what its jobs begin with, what its batches wrote. Verbs and reads.

Each builds one SQL statement, as `core.jobs` does. The bytes lie in storage under `files/`: written before the row,
deleted before it. A file that has expired is not there any more, whether the sweep has come by or not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.ids import new_id
from core.rows import ExpiredFile, FileRow
from core.tables import files

PREFIX = "files/"
"""Where all files lie in storage."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file whose bytes lie, or are about to lie, in storage."""

    id: str
    project_id: str
    purpose: str  # one of core.tables.FILE_PURPOSES
    filename: str
    bytes: int
    ttl: timedelta | None = None  # None: kept until its owner deletes it

    @property
    def storage_key(self) -> str:
        """Where its bytes lie."""
        return storage_key(self.id)


def new_file_id() -> str:
    """Make an id such as `file-01kc3m9w8yq6k0v2t5x7z1b4dn`."""
    return new_id("file", "-")


def storage_key(file_id: str) -> str:
    """Where a file's bytes lie; nothing else ever lies there."""
    return f"{PREFIX}{file_id}"


def record(*new: NewFile) -> Statement[FileRow]:
    """Enter files into the database; their bytes lie in storage already. Returns their rows."""
    return Statement(sa.insert(files).values([_values(file) for file in new]).returning(*files.c), FileRow)


def _values(file: NewFile) -> dict[str, Any]:
    given = {name: getattr(file, name) for name in ("id", "project_id", "purpose", "filename", "bytes", "storage_key")}
    return {**given, "expires_at": sa.null() if file.ttl is None else NOW + file.ttl}


def _there() -> sa.ColumnElement[bool]:
    return sa.or_(files.c.expires_at.is_(None), files.c.expires_at > NOW)


def get_file(project_id: str, file_id: str) -> Statement[FileRow]:
    """One file of a project."""
    return Statement(_select_file(project_id, file_id), FileRow)


def _select_file(project_id: str, file_id: str) -> sa.Select[Any]:
    return sa.select(files).where(files.c.id == file_id, files.c.project_id == project_id, _there())


def list_files(
    project_id: str, *, limit: int, descending: bool, after: str | None = None, purpose: str | None = None
) -> Statement[FileRow]:
    """Files in order of creation. `after` is the id of the last file of the page before."""
    conditions = [files.c.project_id == project_id, _there()]
    if after is not None:
        conditions.append(files.c.id < after if descending else files.c.id > after)
    if purpose is not None:
        conditions.append(files.c.purpose == purpose)
    return Statement(
        sa.select(files).where(*conditions).order_by(files.c.id.desc() if descending else files.c.id).limit(limit),
        FileRow,
    )


def get_batch_file(project_id: str, file_id: str) -> Statement[FileRow]:
    """A file that a batch may be read from."""
    return Statement(_select_file(project_id, file_id).where(files.c.purpose == "batch"), FileRow)


def delete(project_id: str, file_id: str) -> Statement[str]:
    """Forget a file. The caller has removed its object first."""
    return Statement(
        sa.delete(files).where(files.c.id == file_id, files.c.project_id == project_id).returning(files.c.id), str
    )


def list_expired(limit: int) -> Statement[ExpiredFile]:
    """Files past their time."""
    statement = sa.select(files.c.id, files.c.storage_key).where(files.c.expires_at <= STATEMENT_TIME)
    return Statement(statement.order_by(files.c.expires_at).limit(limit), ExpiredFile)


def purge(file_ids: Sequence[str]) -> Statement[str]:
    """Forget files past their time. The caller has removed their objects first."""
    statement = sa.delete(files).where(files.c.id.in_(file_ids), files.c.expires_at <= STATEMENT_TIME)
    return Statement(statement.returning(files.c.id), str)
