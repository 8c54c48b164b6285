"""Requests that name an `Idempotency-Key`: the key, the job and its files are written together, or none of them.

What is kept under a key is up to the call: its answer, or the id of its job. The rules are in `core/idempotency.py`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Header
from sqlalchemy.exc import OperationalError

from api.context import Context
from api.inputs import keep
from core import idempotency, jobs
from core.db import AsyncTransaction
from core.errors import IdempotencyConflict
from core.jobs import NewJob
from core.requests.inputs import Inputs
from core.rows import JobRow

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


async def submit_with_key(
    context: Context, job: NewJob, inputs: Inputs, key: str, fingerprint: bytes, kept: Callable[[JobRow], str]
) -> str | None:
    """Put a job in line, keep some JSON of it under a key, and return that. None if the key is taken: see `kept_under`.

    Then what was put into storage for this job is an orphan, which the sweep deletes. Raises IdempotencyConflict while
    the first request with the key takes its time.
    """
    entry = await keep(context, inputs)
    async with context.database.transaction() as transaction:
        if entry is not None:
            await transaction.execute(entry)
        row = (await transaction.execute(jobs.submit(job)))[0]
        keeping = kept(row)
        fresh = await store(context, transaction, job.project_id, key, fingerprint, json.loads(keeping))
    if not fresh:
        return None
    context.notifier.notify(job.queue)
    return keeping


async def store(
    context: Context,
    transaction: AsyncTransaction,
    project_id: str,
    key: str,
    fingerprint: bytes,
    keeping: Mapping[str, Any],
) -> bool:
    """Keep something under a key, in the transaction that makes it. False: the key is taken, and all of it is undone.

    Raises IdempotencyConflict while the first request with the key takes its time.
    """
    statement = idempotency.store(project_id, key, fingerprint, keeping, context.settings.idempotency_ttl)
    try:
        await transaction.execute(idempotency.LOCK_WAIT)
        stored = await transaction.execute(statement)
    except OperationalError as error:
        if "lock timeout" in str(error):
            raise IdempotencyConflict from error
        raise
    if not stored:
        await transaction.rollback()
        return False
    return True


async def lookup(context: Context, project_id: str, key: str, fingerprint: bytes) -> Mapping[str, Any] | None:
    """What an earlier request like this kept under its key. Raises IdempotencyMismatch if it was another request."""
    found = await context.database.execute(idempotency.lookup(project_id, key))
    return idempotency.replay(found[0], fingerprint) if found else None
