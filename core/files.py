"""Files of a project: uploads, input images of jobs, input and output files of batches.

Each function builds one SQL statement, as in `core.jobs`. The object in storage, under `files/`, is written before the
row and deleted before the row. A query does not return a file that has expired, even if the sweep has not deleted it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.ids import new_id
from core.rows.file import ExpiredFile, FileRow
from core.tables import files
from core.tables.files import IS_LISTED

PREFIX = "files/"
"""The prefix of all files in storage."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file whose object is in storage, or is about to be written."""

    id: str
    project_id: str
    purpose: str  # one of core.tables.FILE_PURPOSES
    filename: str
    bytes: int
    ttl: timedelta | None = None  # None: kept until its owner deletes it
    is_copy: bool = False  # of an image in a request: it goes with the last job that uses it

    @property
    def storage_key(self) -> str:
        """The key of its object."""
        return storage_key(self.id)


def new_file_id() -> str:
    """Generate an id such as `file-01kc3m9w8yq6k0v2t5x7z1b4dn`."""
    return new_id("file", "-")


def storage_key(file_id: str) -> str:
    """The key of a file's object. Keys are not reused."""
    return f"{PREFIX}{file_id}"


def rewritten_prefix(file_id: str) -> str:
    """The prefix of a file's objects that were written without some of its lines (`core/erasures`)."""
    return f"{PREFIX}rewritten/{file_id}/"


def record(*new: NewFile) -> Statement[FileRow]:
    """Insert files whose objects are in storage. Returns their rows."""
    return Statement(sa.insert(files).values([_values(file) for file in new]).returning(*files.c), FileRow)


_COLUMNS = ("id", "project_id", "purpose", "filename", "bytes", "storage_key", "is_copy")


def _values(file: NewFile) -> dict[str, Any]:
    values = {name: getattr(file, name) for name in _COLUMNS}
    return {**values, "expires_at": sa.null() if file.ttl is None else NOW + file.ttl}


def _not_expired() -> sa.ColumnElement[bool]:
    return sa.or_(files.c.expires_at.is_(None), files.c.expires_at > NOW)


def get_file(project_id: str, file_id: str) -> Statement[FileRow]:
    """One file of a project."""
    return Statement(_select_file(project_id, file_id), FileRow)


def _select_file(project_id: str, file_id: str) -> sa.Select[Any]:
    return sa.select(files).where(files.c.id == file_id, files.c.project_id == project_id, _not_expired())


def list_files(
    project_id: str, *, limit: int, descending: bool, after: str | None = None, purpose: str | None = None
) -> Statement[FileRow]:
    """Files in order of creation, without the images that requests brought along: their jobs show them.

    after: the id of the last file of the page before.
    """
    conditions: list[sa.ColumnExpressionArgument[bool]] = [
        files.c.project_id == project_id,
        sa.literal_column(IS_LISTED.text, sa.Boolean),
        _not_expired(),
    ]
    if after is not None:
        conditions.append(files.c.id < after if descending else files.c.id > after)
    if purpose is not None:
        conditions.append(files.c.purpose == purpose)
    return Statement(
        sa.select(files).where(*conditions).order_by(files.c.id.desc() if descending else files.c.id).limit(limit),
        FileRow,
    )


def get_batch_file(project_id: str, file_id: str) -> Statement[FileRow]:
    """A file with the purpose `batch`."""
    return Statement(_select_file(project_id, file_id).where(files.c.purpose == "batch"), FileRow)


def delete(project_id: str, file_id: str) -> Statement[str]:
    """Delete a file. The caller has deleted its object before."""
    return Statement(
        sa.delete(files).where(files.c.id == file_id, files.c.project_id == project_id).returning(files.c.id), str
    )


def list_expired(limit: int) -> Statement[ExpiredFile]:
    """Expired files."""
    statement = sa.select(files.c.id, files.c.storage_key).where(files.c.expires_at <= STATEMENT_TIME)
    return Statement(statement.order_by(files.c.expires_at).limit(limit), ExpiredFile)


def purge(file_ids: Sequence[str]) -> Statement[str]:
    """Delete expired files. The caller has deleted their objects before."""
    statement = sa.delete(files).where(files.c.id.in_(file_ids), files.c.expires_at <= STATEMENT_TIME)
    return Statement(statement.returning(files.c.id), str)
