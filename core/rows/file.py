"""The rows of files; see `core.rows.job`."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True)
class FileRow:
    """A file."""

    id: str
    project_id: str
    purpose: str
    filename: str
    bytes: int
    storage_key: str
    created_at: datetime
    expires_at: datetime | None
    is_copy: bool | None


@dataclass(slots=True)
class ExpiredFile:
    """A file to be deleted, and where its bytes lie."""

    id: str
    storage_key: str
