"""Idempotency keys: a request that is sent several times with the same key creates one job.

A key belongs to a project. It is stored with the response in the transaction that creates the job; a repeated request
gets the stored response. Errors are not stored: a failed request may be sent again with the same key.
Source: draft-ietf-httpapi-idempotency-key-header-06.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.errors import IdempotencyMismatch, InvalidRequest, NotFound
from core.rows.job import StoredResponse
from core.tables import idempotency_keys as keys

LOCK_WAIT = sa.text("SET LOCAL lock_timeout = '2s'")
"""Run before: a second request with the key waits this long for the first to commit, then it gets a conflict."""

ANY_LOCK_WAIT = sa.text("SET LOCAL lock_timeout = 0")
"""Run after, if the transaction waits for other locks: the short timeout is for the key only."""


ERASED = b""
"""The fingerprint of a key whose job or batch was deleted. The key stays, so that nothing is generated again."""


def check(key: str) -> str:
    """The key of a header. Raises InvalidRequest unless it is 1 to 255 printable ASCII characters."""
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 printable ASCII characters.", param="Idempotency-Key")
    return key


def fingerprint(path: str, request: Mapping[str, Any]) -> bytes:
    """A hash of the path and the checked body; the order of fields does not matter."""
    return hashlib.sha256(json.dumps([path, request], sort_keys=True).encode()).digest()


def store(project_id: str, key: str, fingerprint: bytes, response: Mapping[str, Any], ttl: timedelta) -> Statement[str]:
    """Store a response. No row is returned if the key exists and has not expired: see `lookup`."""
    statement = insert(keys).values(
        project_id=project_id, key=key, fingerprint=fingerprint, response=response, expires_at=NOW + ttl
    )
    return Statement(
        statement.on_conflict_do_update(
            index_elements=[keys.c.project_id, keys.c.key],
            set_={name: statement.excluded[name] for name in ("fingerprint", "response", "created_at", "expires_at")},
            where=keys.c.expires_at <= NOW,
        ).returning(keys.c.key),
        str,
    )


def lookup(project_id: str, key: str) -> Statement[StoredResponse]:
    """The stored response of a key."""
    return Statement(
        sa.select(keys.c.fingerprint, keys.c.response).where(
            keys.c.project_id == project_id, keys.c.key == key, keys.c.expires_at > NOW
        ),
        StoredResponse,
    )


def replay(stored: StoredResponse, fingerprint: bytes) -> Mapping[str, Any]:
    """The stored response, if the request is the same. Raises IdempotencyMismatch, and NotFound after a deletion."""
    if stored.fingerprint == ERASED:
        raise NotFound("What the first request with this Idempotency-Key created has been deleted.")
    if stored.fingerprint != fingerprint:
        raise IdempotencyMismatch(param="Idempotency-Key")
    response: Mapping[str, Any] = stored.response
    return response


def purge_expired(limit: int) -> Statement[str]:
    """Delete expired keys, `limit` at most, and return them."""
    pick = (
        sa.select(keys.c.project_id, keys.c.key)
        .where(keys.c.expires_at <= STATEMENT_TIME)
        .order_by(keys.c.expires_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    is_picked = sa.and_(keys.c.project_id == pick.c.project_id, keys.c.key == pick.c.key)
    return Statement(sa.delete(keys).where(is_picked).returning(keys.c.key), str)
