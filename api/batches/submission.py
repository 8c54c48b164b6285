"""How a batch is submitted: checked, inserted, and left to the batch processor.

Prompts are all that there is to say, so that their jobs are inserted at once, in the transaction that makes the batch.
A file's lines are read later, by `worker/batches/processor.py`; requests become such a file.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from api.context import Context
from api.jobs.idempotency import store
from core import fairness, files, idempotency
from core.batches import transitions as batches
from core.batches.input_file import Kind, kind_of
from core.batches.requests import BatchRequest, request_of
from core.batches.schemas import BatchObject, batch_object
from core.batches.transitions import NewBatch
from core.db import AsyncTransaction
from core.errors import InvalidParameter, SafelightError, TooManyBatches
from core.files import NewFile
from core.ids import new_id
from core.job_inserts import CHUNK_ROWS, COPY, INSERT_TIMEOUT, RowsOf, ranked
from core.jobs import NewJob
from core.requests.plan import check_webhook, plan, random_seed
from core.rows import FileRow


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """An `Idempotency-Key`, and what makes two requests with it the same."""

    key: str
    fingerprint: bytes


async def submit(
    context: Context, project_id: str, wanted: BatchRequest, keyed_request: KeyedRequest | None
) -> BatchObject | None:
    """Make a batch. None: its key was used before, and nothing was made. Raises InvalidRequest, TooManyBatches."""
    new = NewBatch(
        project_id=project_id,
        endpoint=wanted.door,
        completion_window=wanted.window,
        parameters=wanted.shared,
        response_format=wanted.response_format,
        output_ttl=wanted.output_ttl,
        metadata=wanted.metadata,
        webhook=None if wanted.webhook is None else check_webhook(wanted.webhook, context.settings),
    )
    if wanted.prompts is not None:
        like = job_like(context, project_id, wanted, wanted.prompts)
        return await _enter_with_jobs(context, new, like, wanted.prompts, keyed_request)
    if wanted.requests is not None:
        file = await _kept(context, project_id, wanted.requests, wanted.door)
        return await enter(context, replace(new, input_file_id=file.id), keyed_request, file)
    await input_file(context, project_id, wanted.input_file_id or "")
    return await enter(context, replace(new, input_file_id=wanted.input_file_id), keyed_request)


async def enter(
    context: Context, new: NewBatch, keyed_request: KeyedRequest | None = None, file: NewFile | None = None
) -> BatchObject | None:
    """Enter a batch whose lines are read later, and the file that they are in if that is new."""
    async with context.database.transaction() as transaction:
        if file is not None:
            await transaction.execute(files.record(file))
        return await _enter(context, transaction, new, keyed_request)


async def _enter_with_jobs(
    context: Context, new: NewBatch, like: NewJob, prompts: Sequence[str], keyed_request: KeyedRequest | None
) -> BatchObject | None:
    """Enter a batch together with all its jobs."""
    total = len(prompts)
    new = replace(new, total=total, model=like.model, cost=like.cost * total)
    async with context.database.transaction() as transaction:
        await transaction.execute(INSERT_TIMEOUT)
        shown = await _enter(context, transaction, new, keyed_request)
        if shown is None:
            return None
        await transaction.execute(idempotency.ANY_LOCK_WAIT)
        await transaction.execute(fairness.lock_flow(like.queue, like.project_id))
        start = fairness.select_start(like.queue, like.project_id, like.priority, batch=True)
        (rank,) = await transaction.execute(start)
        ends_at = datetime.fromtimestamp(shown.expires_at, UTC)
        await transaction.copy(COPY, _chunks(context, new, like, prompts, ends_at, rank))
    context.notifier.notify(like.queue)
    return shown


def _chunks(
    context: Context, new: NewBatch, like: NewJob, prompts: Sequence[str], ends_at: datetime, rank: float
) -> Iterator[bytes]:
    """The rows of a batch's jobs, made while Postgres takes in those before. rank: where they are charged from."""
    rows = RowsOf(new.id, ends_at)
    model = context.catalog.model(like.model)
    is_sown = "seed" in new.parameters
    for begin in range(0, len(prompts), CHUNK_ROWS):
        chunk = []
        for index, prompt in enumerate(prompts[begin : begin + CHUNK_ROWS], begin):
            rank += like.cost
            seed = like.parameters.seed if is_sown else random_seed(model)
            row = rows.row_like(like, new_id("job"), prompt, seed, index, f"line-{index + 1}", new.response_format)
            chunk.append(ranked(row, rank))
        yield b"".join(chunk)


async def _enter(
    context: Context, transaction: AsyncTransaction, new: NewBatch, keyed_request: KeyedRequest | None
) -> BatchObject | None:
    """Write a batch's row and what is kept under its key. None: the key is taken, and all is undone."""
    if not await transaction.execute(batches.submit(new, context.settings.max_batches)):
        raise TooManyBatches(
            f"{context.settings.max_batches} batches are under way already; nothing was stored. "
            "Wait until one has ended, or cancel one."
        )
    shown = batch_object((await transaction.execute(batches.get_batch_by_id(new.id)))[0], context.settings.base_url)
    shown.request_counts.queued = new.total  # its jobs follow in the same transaction
    if keyed_request is None:
        return shown
    kept = shown.model_dump(mode="json")
    is_first = await store(context, transaction, new.project_id, keyed_request.key, keyed_request.fingerprint, kept)
    return shown if is_first else None


def job_like(context: Context, project_id: str, wanted: BatchRequest, prompts: Sequence[str]) -> NewJob:
    """The job of the first prompt; the others' differ in their own words only. Raises InvalidRequest for any."""
    try:
        request, _ = request_of(wanted.door, {"prompt": prompts[0]}, wanted.shared)
        like = plan(request, context.catalog, context.settings, project_id)
    except SafelightError as error:
        error.param = "prompts.0" if error.param == "prompt" else error.param
        raise
    longest = context.catalog.model(like.model).max_prompt_chars
    for index, prompt in enumerate(prompts):
        if not prompt.strip():
            raise InvalidParameter(f"prompts.{index} must not be empty.", param=f"prompts.{index}")
        if len(prompt) > longest:
            raise InvalidParameter(
                f"prompts.{index} has {len(prompt)} characters; {like.model} takes at most {longest}.",
                param=f"prompts.{index}",
            )
    return like


async def input_file(context: Context, project_id: str, file_id: str) -> tuple[Kind, FileRow]:
    """The file that a batch is to be read from, and what it is. Raises InvalidParameter."""
    rows = await context.database.execute(files.get_batch_file(project_id, file_id))
    if not rows:
        raise InvalidParameter(f"There is no file {file_id!r} of purpose batch.", param="input_file_id")
    return kind_of(rows[0].filename), rows[0]


def as_lines(requests: Sequence[Mapping[str, Any]], endpoint: str) -> Iterator[bytes]:
    """Requests as lines of a file. Raises InvalidParameter."""
    for index, request in enumerate(requests):
        custom_id = request.get("custom_id", f"line-{index + 1}")
        body = {name: value for name, value in request.items() if name != "custom_id"}
        line = {"custom_id": custom_id, "method": "POST", "url": endpoint, "body": body}
        yield json.dumps(line).encode() + b"\n"


async def _kept(context: Context, project_id: str, requests: Sequence[Mapping[str, Any]], endpoint: str) -> NewFile:
    """Requests as a file in storage, which is not entered into the database yet."""
    content = await asyncio.to_thread(lambda: b"".join(as_lines(requests, endpoint)))
    ttl = context.settings.batch_file_ttl
    file = NewFile(files.new_file_id(), project_id, "batch", "requests.jsonl", len(content), ttl)
    await asyncio.to_thread(context.storage.put, file.storage_key, content, "application/jsonl")
    return file
