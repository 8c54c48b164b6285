"""API keys: `sl_` and 43 characters; each gives access to one project. Shown once, stored as a hash.

A key holds 256 random bits, so a plain SHA-256 is the right hash: a slow one would protect nothing more.
"""

import hashlib
import secrets

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.clock import NOW
from core.db import Statement
from core.ids import new_id
from core.rows import KeyRow, ValidKey
from core.tables import api_keys, projects

PREFIX = "sl_"
PREFIX_LENGTH = len(PREFIX) + 6
"""Characters of a key that are stored in plain text, to identify it in a list."""

ALL_SCOPES = frozenset({"submit", "read", "webhooks", "admin"})
"""What a key may be used for."""


def new_key() -> str:
    """Generate a key."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> bytes:
    """The stored hash of a key."""
    return hashlib.sha256(key.encode()).digest()


def add_project(name: str) -> Statement[str]:
    """Create a project."""
    return Statement(insert(projects).values(id=new_id("proj"), name=name).returning(projects.c.id), str)


def get_project_by_name(name: str) -> Statement[str]:
    """The project with a name or id."""
    return Statement(sa.select(projects.c.id).where(sa.or_(projects.c.name == name, projects.c.id == name)), str)


def add(key: str, project_id: str, name: str) -> sa.Executable:
    """Give a key access to a project."""
    return sa.insert(api_keys).values(
        id=new_id("key"), project_id=project_id, name=name, prefix=key[:PREFIX_LENGTH], hash=hash_key(key)
    )


def revoke(key_id: str) -> Statement[str]:
    """Revoke a key. No row is returned if there is no such key, or if it was revoked before."""
    return Statement(
        (
            sa.update(api_keys)
            .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
            .values(revoked_at=NOW)
            .returning(api_keys.c.id)
        ),
        str,
    )


def list_keys() -> Statement[KeyRow]:
    """All keys, without their hashes."""
    columns = ("id", "project_id", "name", "prefix", "created_at", "revoked_at")
    return Statement(sa.select(*(api_keys.c[name] for name in columns)).order_by(api_keys.c.id), KeyRow)


def find_valid(key_hash: bytes) -> Statement[ValidKey]:
    """The key with this hash, if it is not revoked."""
    columns = api_keys.c.id, api_keys.c.project_id
    return Statement(sa.select(*columns).where(api_keys.c.hash == key_hash, api_keys.c.revoked_at.is_(None)), ValidKey)
