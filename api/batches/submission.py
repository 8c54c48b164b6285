"""Submits batches: validates and inserts them.

The jobs of prompts are inserted in the batch's own transaction. The lines of a file are read later, by
`worker/batches/processor.py`; requests become such a file.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import repeat

from api.callers import Caller
from api.context import Context
from api.fine_tuning.models import catalog_of_project
from api.jobs.idempotency import store
from core import fairness, files, idempotency, priorities
from core.batches import body
from core.batches import queries as batch_queries
from core.batches import transitions as batches
from core.batches.body import BatchBody
from core.batches.requests import BatchRequest, parse_body
from core.batches.schemas import BatchObject, batch_object
from core.batches.transitions import NewBatch
from core.catalog import Catalog
from core.db import AsyncTransaction
from core.errors import InvalidParameter, SafelightError
from core.files import NewFile
from core.ids import new_ids
from core.job_inserts import CHUNK_ROWS, COPY, INSERT_TIMEOUT, RowWriter, with_rank
from core.limit_errors import TooManyBatches
from core.limits import amount_of_jobs
from core.new_job import NewJob
from core.requests.adaptation import adapt
from core.requests.plan import check_webhook, plan, random_seeds, uses_seeds
from core.rows.file import FileRow
from core.telemetry import metrics
from core.text import quote

log = logging.getLogger(__name__)

REQUESTS_FILE = "requests.jsonl"
"""The name of the file that is made of the requests of a batch."""


SMALL_BYTES = 8_192
"""Bodies up to this size, and their lines, are read in a thread: it takes milliseconds. A process reads others."""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """An `Idempotency-Key`, and the fingerprint of its request."""

    key: str
    fingerprint: bytes


async def read_body(context: Context, project_id: str, content: bytes) -> BatchBody:
    """Read the body of a batch. Raises InvalidRequest."""
    if len(content) <= SMALL_BYTES:
        return await context.threads.parsing.run(project_id, body.read_body, content)
    return await context.checkers.read_body(project_id, content)


async def submit(
    context: Context,
    caller: Caller,
    request: BatchRequest,
    keyed_request: KeyedRequest | None,
    lines: bytes | None = None,
) -> BatchObject | None:
    """Insert a batch. None: its key is in use, and nothing was inserted. lines: its `requests`, if it has any.

    Raises InvalidRequest, TooManyBatches.
    """
    project_id = caller.project_id
    new_batch = NewBatch(
        project_id=project_id,
        api_key_id=caller.key_id,
        endpoint=request.target_endpoint,
        completion_window=request.window,
        parameters=request.shared_parameters,
        response_format=request.response_format,
        output_ttl=request.output_ttl,
        metadata=request.metadata,
        webhook=None if request.webhook is None else check_webhook(request.webhook, context.settings),
    )
    if request.prompts is not None:
        catalog = await catalog_of_project(context, project_id)
        template, response_format = template_job(context, catalog, project_id, request, request.prompts)
        template = replace(template, api_key_id=caller.key_id)
        new_batch = replace(new_batch, response_format=response_format or new_batch.response_format)
        return await _insert_with_jobs(context, new_batch, template, request.prompts, keyed_request)
    if lines is not None:
        file = await _store_requests(context, project_id, lines)
        return await insert_batch(context, replace(new_batch, input_file_id=file.id), keyed_request, file)
    await input_file(context, project_id, request.input_file_id or "")
    if request.extra_columns != "refuse":
        new_batch = replace(new_batch, input={"extra_columns": request.extra_columns})
    return await insert_batch(context, replace(new_batch, input_file_id=request.input_file_id), keyed_request)


async def insert_batch(
    context: Context, new_batch: NewBatch, keyed_request: KeyedRequest | None = None, file: NewFile | None = None
) -> BatchObject | None:
    """Insert a batch whose lines are read later, and the row of its input file if that is new."""
    async with context.database.transaction() as transaction:
        if file is not None:
            await transaction.execute(files.record(file))
        batch = await _insert(context, transaction, new_batch, keyed_request)
    if batch is not None:
        await context.listener.publish_new_batch(batch.id)
        _log_submitted(batch, new_batch)
    return batch


async def _insert_with_jobs(
    context: Context, new_batch: NewBatch, template: NewJob, prompts: Sequence[str], keyed_request: KeyedRequest | None
) -> BatchObject | None:
    """Insert a batch with all its jobs."""
    await context.draining_queues.check(template.queue)
    total = len(prompts)
    new_batch = replace(new_batch, total=total, model=template.model, cost=template.cost * total)
    async with context.database.transaction() as transaction:
        await transaction.execute(INSERT_TIMEOUT)
        usd = None if template.provider_usd is None else template.provider_usd * total
        amount = amount_of_jobs(total, new_batch.cost, usd)
        await context.limits.reserve(transaction, new_batch.project_id, new_batch.api_key_id, amount)
        batch = await _insert(context, transaction, new_batch, keyed_request)
        if batch is None:
            return None
        await transaction.execute(idempotency.ANY_LOCK_WAIT)
        await transaction.execute(fairness.lock_flow(template.queue, template.project_id))
        start = priorities.select_start(
            template.queue,
            template.project_id,
            template.priority,
            template.project_priority,
            cost=new_batch.cost,
            count=total,
        )
        (rank,) = await transaction.execute(start)
        ends_at = datetime.fromtimestamp(batch.expires_at, UTC)
        await transaction.copy(COPY, _chunks(context, new_batch, template, prompts, ends_at, rank))
    context.notifier.notify(template.queue)
    metrics.JOBS_ACCEPTED.labels(template.model, "batch").inc(total)
    _log_submitted(batch, new_batch)
    return batch


def _log_submitted(batch: BatchObject, new_batch: NewBatch) -> None:
    ids = {"batch_id": batch.id, "project_id": new_batch.project_id}
    log.info("batch %s is %s", batch.id, batch.status, extra=ids)


def _chunks(
    context: Context, new_batch: NewBatch, template: NewJob, prompts: Sequence[str], ends_at: datetime, rank: float
) -> Iterator[bytes]:
    """The rows of a batch's jobs, generated while Postgres stores earlier ones. rank: their first fair rank."""
    rows = RowWriter(new_batch.id, ends_at)
    model = context.catalog.model(template.model)
    job_ids, seeds = new_ids("job"), random_seeds()
    if "seed" in new_batch.parameters or not uses_seeds(model):
        seeds = repeat(template.parameters.seed)
    for begin in range(0, len(prompts), CHUNK_ROWS):
        chunk = []
        for index, prompt in enumerate(prompts[begin : begin + CHUNK_ROWS], begin):
            rank += template.cost
            custom_id = f"line-{index + 1}"
            row = rows.row(template, next(job_ids), prompt, next(seeds), index, custom_id, new_batch.response_format)
            chunk.append(with_rank(row, rank))
        yield "".join(chunk).encode()


async def _insert(
    context: Context, transaction: AsyncTransaction, new_batch: NewBatch, keyed_request: KeyedRequest | None
) -> BatchObject | None:
    """Insert a batch's row and its idempotency key. None: the key is in use, and the transaction is rolled back."""
    if not await transaction.execute(batches.submit(new_batch, context.settings.max_batches)):
        raise TooManyBatches(
            f"{context.settings.max_batches} batches of this project are in progress already; nothing was stored. "
            "Wait until a batch is final, or cancel one."
        )
    batch = batch_object((await transaction.execute(batch_queries.get_batch_by_id(new_batch.id)))[0], context.base_url)
    batch.request_counts.queued = new_batch.total  # its jobs follow in the same transaction
    if keyed_request is None:
        return batch
    response = batch.model_dump(mode="json")
    is_first = await store(
        context, transaction, new_batch.project_id, keyed_request.key, keyed_request.fingerprint, response
    )
    return batch if is_first else None


def template_job(
    context: Context, catalog: Catalog, project_id: str, request: BatchRequest, prompts: Sequence[str]
) -> tuple[NewJob, str | None]:
    """The job of the first prompt, and its response format; None: the batch's.

    The other jobs differ in prompt and seed only. Raises InvalidRequest.
    """
    settings = context.settings
    try:
        values = {"prompt": prompts[0]}
        job_request, response_format = parse_body(request.target_endpoint, values, request.shared_parameters)
        template = plan(adapt(job_request, catalog, settings), catalog, settings, project_id)
    except SafelightError as error:
        error.param = "prompts.0" if error.param == "prompt" else error.param
        raise
    max_chars = catalog.model(template.model).max_prompt_chars
    for index, prompt in enumerate(prompts):
        if not prompt.strip():
            raise InvalidParameter(f"prompts.{index} must not be empty.", param=f"prompts.{index}")
        if len(prompt) > max_chars:
            raise InvalidParameter(
                f"prompts.{index} has {len(prompt)} characters; {template.model} allows at most {max_chars}.",
                param=f"prompts.{index}",
            )
    return template, response_format


async def input_file(context: Context, project_id: str, file_id: str) -> FileRow:
    """The input file of a batch. Raises InvalidParameter."""
    rows = await context.database.execute(files.get_batch_file(project_id, file_id))
    if not rows:
        raise InvalidParameter(f"There is no file {quote(file_id)} with purpose batch.", param="input_file_id")
    return rows[0]


async def _store_requests(context: Context, project_id: str, lines: bytes) -> NewFile:
    """Write requests to storage as an input file. Its row is not inserted yet."""
    ttl = context.settings.batch_file_ttl
    file = NewFile(files.new_file_id(), project_id, "batch", REQUESTS_FILE, len(lines), ttl, is_copy=True)
    await context.threads.storage.run(project_id, context.storage.put, file.storage_key, lines, "application/jsonl")
    return file
