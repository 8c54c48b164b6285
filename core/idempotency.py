"""Idempotency keys: the same request with the same key is one job, however often it is sent.

A key belongs to a project. It is written in the transaction that makes the job, with the answer; a repetition gets that
answer again. Errors are not kept: a request that failed may be sent again with the same key.
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
from core.errors import IdempotencyMismatch, InvalidRequest
from core.rows import StoredResponse
from core.tables import idempotency_keys as keys

LOCK_WAIT = sa.text("SET LOCAL lock_timeout = '2s'")
"""Run before: a second request waits this long for the first with its key to commit, then it is a conflict."""

ANY_LOCK_WAIT = sa.text("SET LOCAL lock_timeout = 0")
"""Run after, where the transaction goes on to wait for another lock: only the key may not be waited for long."""


def check(key: str) -> str:
    """A key as the header gave it. Raises InvalidRequest unless it is 1 to 255 printable ASCII characters."""
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        raise InvalidRequest("Idempotency-Key must be 1 to 255 printable ASCII characters.", param="Idempotency-Key")
    return key


def fingerprint(path: str, request: Mapping[str, Any]) -> bytes:
    """What makes two requests the same: the path and the checked body, whatever the order of its fields."""
    return hashlib.sha256(json.dumps([path, request], sort_keys=True).encode()).digest()


def store(project_id: str, key: str, fingerprint: bytes, response: Mapping[str, Any], ttl: timedelta) -> Statement[str]:
    """Keep an answer under a key. No row back: the key is taken, see `recall`. An expired key is free again."""
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
    """What is kept under a key."""
    return Statement(
        sa.select(keys.c.fingerprint, keys.c.response).where(
            keys.c.project_id == project_id, keys.c.key == key, keys.c.expires_at > NOW
        ),
        StoredResponse,
    )


def replay(kept: StoredResponse, fingerprint: bytes) -> Mapping[str, Any]:
    """The kept answer, if it belongs to the same request. Raises IdempotencyMismatch."""
    if kept.fingerprint != fingerprint:
        raise IdempotencyMismatch(param="Idempotency-Key")
    response: Mapping[str, Any] = kept.response
    return response


def purge_expired(limit: int) -> Statement[str]:
    """Delete keys that are past their time, so many at most, and return them."""
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
