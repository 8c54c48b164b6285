"""Requests that name an `Idempotency-Key`: the key, the job and its files are written together, or none of them.

What is kept under a key is up to the call: its answer, or the id of its job. The rules are in `core/idempotency.py`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Header
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from api.context import Context
from api.inputs import keep
from core import idempotency, jobs
from core.errors import IdempotencyConflict
from core.jobs import NewJob
from core.requests.inputs import Inputs

Key = Annotated[
    str | None,
    Header(
        alias="idempotency-key",
        description="Makes a repeated request the same job.",
        json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
    ),
]
REPLAYED = {"idempotent-replayed": "true"}
"""Header of an answer whose job was made by an earlier request with the same key."""


async def submit_once(
    parts: Context, job: NewJob, brought: Inputs, key: str, mark: bytes, kept: Callable[[sa.Row[Any]], str]
) -> str | None:
    """Put a job in line, keep some JSON of it under a key, and return that. None if the key is taken: see `kept_under`.

    Then what was put into storage for this job is an orphan, which the sweep deletes. Raises IdempotencyConflict while
    the first request with the key takes its time.
    """
    entry = await keep(parts, brought)
    async with parts.database.transaction() as connection:
        if entry is not None:
            await connection.execute(entry)
        row = (await connection.execute(jobs.submit(job))).one()
        keeping = kept(row)
        fresh = await remember(parts, connection, job.project_id, key, mark, json.loads(keeping))
    if not fresh:
        return None
    parts.doorbell.ring(job.queue)
    return keeping


async def remember(
    parts: Context, connection: AsyncConnection, project_id: str, key: str, mark: bytes, keeping: Mapping[str, Any]
) -> bool:
    """Keep something under a key, in the transaction that makes it. False: the key is taken, and all of it is undone.

    Raises IdempotencyConflict while the first request with the key takes its time.
    """
    remembering = idempotency.remember(project_id, key, mark, keeping, parts.settings.idempotency_ttl)
    try:
        await connection.execute(idempotency.LOCK_WAIT)
        remembered = (await connection.execute(remembering)).first()
    except OperationalError as error:
        if "lock timeout" in str(error):
            raise IdempotencyConflict from error
        raise
    if remembered is None:
        await connection.rollback()
        return False
    return True


async def kept_under(parts: Context, project_id: str, key: str, mark: bytes) -> Mapping[str, Any] | None:
    """What an earlier request like this kept under its key. Raises IdempotencyMismatch if it was another request."""
    found = await parts.database.execute(idempotency.recall(project_id, key))
    return idempotency.replay(found[0], mark) if found else None
