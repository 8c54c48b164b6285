"""API keys: `sl_` and 43 characters; each gives access to one project. Shown once, stored as a hash.

A key holds 256 random bits, so a plain SHA-256 is the right hash: a slow one would protect nothing more.
"""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.ids import new_id
from core.rows.key import KeyRow, ProjectRow, ValidKey
from core.scopes import DEFAULT_SCOPES
from core.tables import api_keys, projects

PREFIX = "sl_"
PREFIX_LENGTH = len(PREFIX) + 6
"""Characters of a key that are stored in plain text, to identify it in a list."""


def new_key() -> str:
    """Generate a key."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> bytes:
    """The stored hash of a key."""
    return hashlib.sha256(key.encode()).digest()


def add_project(name: str) -> Statement[str]:
    """Create a project."""
    return Statement(insert(projects).values(id=new_id("proj"), name=name).returning(projects.c.id), str)


def list_projects() -> Statement[ProjectRow]:
    """All projects, at most 10,000."""
    return Statement(sa.select(projects.c.id, projects.c.name).order_by(projects.c.id).limit(10_000), ProjectRow)


def get_project_by_name(name: str) -> Statement[str]:
    """The project with a name or id."""
    return Statement(sa.select(projects.c.id).where(sa.or_(projects.c.name == name, projects.c.id == name)), str)


def add(
    key: str,
    project_id: str,
    name: str,
    scopes: Sequence[str] = DEFAULT_SCOPES,
    expires_in: timedelta | None = None,
) -> Statement[str]:
    """Give a key access to a project, until it expires. Returns the id of the key."""
    values = {"id": new_id("key"), "project_id": project_id, "name": name, "prefix": key[:PREFIX_LENGTH]}
    return Statement(
        sa.insert(api_keys)
        .values(
            **values,
            hash=hash_key(key),
            scopes=list(scopes),
            expires_at=None if expires_in is None else NOW + sa.literal(expires_in, sa.Interval),
        )
        .returning(api_keys.c.id),
        str,
    )


def revoke(key_id: str, project_id: str | None = None) -> Statement[str]:
    """Revoke a key. No row is returned if there is no such key, or if it was revoked before.

    project_id: the project that the key must belong to; None: any.
    """
    is_own = sa.true() if project_id is None else api_keys.c.project_id == project_id
    return Statement(
        (
            sa.update(api_keys)
            .where(api_keys.c.id == key_id, is_own, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=NOW)
            .returning(api_keys.c.id)
        ),
        str,
    )


def list_keys() -> Statement[KeyRow]:
    """All keys, without their hashes."""
    return Statement(_select_keys().order_by(api_keys.c.id), KeyRow)


def list_of_project(project_id: str, *, limit: int, after: str | None) -> Statement[KeyRow]:
    """Keys of a project, newest first, without their hashes. after: the id of the last key of the page before."""
    statement = _select_keys().where(api_keys.c.project_id == project_id)
    if after is not None:
        statement = statement.where(api_keys.c.id < after)
    return Statement(statement.order_by(api_keys.c.id.desc()).limit(limit), KeyRow)


def get(project_id: str, key_id: str) -> Statement[KeyRow]:
    """A key of a project, without its hash."""
    return Statement(_select_keys().where(api_keys.c.project_id == project_id, api_keys.c.id == key_id), KeyRow)


def list_valid_ids(project_id: str, *, limit: int) -> Statement[str]:
    """Ids of the keys of a project that are neither revoked nor expired."""
    return Statement(sa.select(api_keys.c.id).where(api_keys.c.project_id == project_id, _is_valid()).limit(limit), str)


def _select_keys() -> sa.Select[Any]:
    columns = (column for column in api_keys.c if column.name != "hash")
    return sa.select(*columns, _is_valid().label("is_valid"))


def list_valid(hashes: Sequence[bytes]) -> Statement[ValidKey]:
    """The keys with these hashes that are neither revoked nor expired."""
    seconds_left = sa.cast(sa.func.extract("epoch", api_keys.c.expires_at - NOW), sa.Double)
    return Statement(
        sa.select(
            api_keys.c.hash,
            api_keys.c.id,
            api_keys.c.project_id,
            api_keys.c.scopes,
            seconds_left.label("seconds_left"),
        ).where(api_keys.c.hash == sa.any_(sa.literal(hashes, ARRAY(sa.LargeBinary))), _is_valid()),
        ValidKey,
    )


def record_use(key_ids: Sequence[str], interval: timedelta) -> sa.Executable:
    """Write that these keys have been used, unless that was written less than `interval` ago.

    Keys that another process writes at the moment are left out.
    """
    pick = (
        sa.select(api_keys.c.id)
        .where(
            api_keys.c.id == sa.any_(sa.literal(key_ids, ARRAY(sa.Text))),
            sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at <= STATEMENT_TIME - interval),
        )
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return sa.update(api_keys).where(api_keys.c.id == pick.c.id).values(last_used_at=NOW)


def _is_valid() -> sa.ColumnElement[bool]:
    is_current = sa.or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > NOW)
    return sa.and_(api_keys.c.revoked_at.is_(None), is_current)
