"""Requests with an `Idempotency-Key`: the key, the job and its files are stored in one transaction.

Each call decides what it stores under the key: its response, or the id of its job. The rules are in
`core/idempotency.py`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import Header

from api.context import Context
from api.inputs import store_inputs
from api.submission import log_submitted
from core import idempotency, submits
from core.db import UNAVAILABLE, AsyncTransaction, Statement, is_lock_timeout
from core.errors import IdempotencyConflict, QueueDraining
from core.limit_errors import InsufficientQuota, RateLimitExceeded, TooManyJobs
from core.limits import amount_of_jobs
from core.new_job import NewJob
from core.requests.inputs import Inputs
from core.rows.file import FileRow
from core.rows.job import JobRow

Key = Annotated[
    str | None,
    Header(
        alias="idempotency-key",
        description="A repeated request with the same key returns the first result.",
        json_schema_extra={"minLength": 1, "maxLength": 255, "pattern": "^[ -~]*$"},
    ),
]
REPLAY_HEADERS = {"idempotent-replayed": "true"}
"""Header of a response whose job was created by an earlier request with the same key."""


async def submit_with_key(
    context: Context, job: NewJob, inputs: Inputs, key: str, fingerprint: bytes, response_of: Callable[[JobRow], str]
) -> str | None:
    """Submit a job, store a JSON response for it under a key, and return the response.

    None: the key is in use (see `lookup`), and no job was submitted. The sweep deletes this job's files from storage.
    Raises IdempotencyConflict while the first request with the key is in progress.
    """
    entry = await store_inputs(context, inputs)
    try:
        await context.draining_queues.check(job.queue)
        async with context.limits.counted_images(job.project_id, job.api_key_id, job.n) as take_back:
            response = await _submit_and_store(context, job, entry, key, fingerprint, response_of)
            if response is None:
                await take_back()
    except (QueueDraining, RateLimitExceeded, TooManyJobs, InsufficientQuota):
        if await lookup(context, job.project_id, key, fingerprint) is not None:
            return None
        raise
    if response is not None:
        context.notifier.notify(job.queue)
    return response


async def _submit_and_store(
    context: Context,
    job: NewJob,
    entry: Statement[FileRow] | None,
    key: str,
    fingerprint: bytes,
    response_of: Callable[[JobRow], str],
) -> str | None:
    amount = amount_of_jobs(1, job.cost, job.provider_usd)
    async with context.database.transaction() as transaction:
        await context.limits.reserve(transaction, job.project_id, job.api_key_id, amount)
        if entry is not None:
            await transaction.execute(entry)
        row = (await transaction.execute(submits.submit(job)))[0]
        response = response_of(row)
        is_first = await store(context, transaction, job.project_id, key, fingerprint, json.loads(response))
    if not is_first:
        return None
    log_submitted(row)
    return response


async def store(
    context: Context,
    transaction: AsyncTransaction,
    project_id: str,
    key: str,
    fingerprint: bytes,
    response: Mapping[str, Any],
) -> bool:
    """Store a response under a key. False: the key is in use, and the transaction is rolled back.

    Raises IdempotencyConflict while the first request with the key is in progress.
    """
    statement = idempotency.store(project_id, key, fingerprint, response, context.settings.idempotency_ttl)
    try:
        await transaction.execute(idempotency.LOCK_WAIT)
        rows = await transaction.execute(statement)
    except UNAVAILABLE as error:
        if is_lock_timeout(error):
            raise IdempotencyConflict from error
        raise
    if not rows:
        await transaction.rollback()
        return False
    return True


async def lookup(context: Context, project_id: str, key: str, fingerprint: bytes) -> Mapping[str, Any] | None:
    """The response that an earlier request stored under a key. Raises IdempotencyMismatch if the requests differ."""
    rows = await context.database.execute(idempotency.lookup(project_id, key))
    return idempotency.replay(rows[0], fingerprint) if rows else None
