"""The rows of projects and API keys; see `core.rows.job`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(slots=True)
class KeyRow:
    """An API key, without its hash. is_valid: it is neither revoked nor expired."""

    id: str
    project_id: str
    name: str
    prefix: str
    created_at: datetime
    revoked_at: datetime | None
    scopes: Sequence[str]
    expires_at: datetime | None
    last_used_at: datetime | None
    is_valid: bool


@dataclass(slots=True)
class ValidKey:
    """A key that is neither revoked nor expired. seconds_left: until it expires; None: it never does."""

    hash: bytes
    id: str
    project_id: str
    scopes: Sequence[str]
    seconds_left: float | None


@dataclass(slots=True)
class ProjectRow:
    """A project."""

    id: str
    name: str
