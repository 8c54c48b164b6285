"""The tools for batches: `generate_batch` and `batch_status`."""

import asyncio
from contextlib import suppress
from typing import Annotated

import anyio
from annotated_types import Ge, Le, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, Field

from api.batches.estimate import estimate
from api.batches.events import POLL_SECONDS
from api.batches.routes import show
from api.batches.submission import KeyedRequest, submit
from api.jobs.idempotency import lookup
from api.mcp.images import HIDDEN, KEY_DESCRIPTION, IdempotencyKey
from api.mcp.jobs import MAX_WAIT_SECONDS, SubjectId, WaitSeconds, check_prefix
from api.mcp.tool import Answer, Call, Tool
from core import idempotency
from core.batches import queries as batch_queries
from core.batches.requests import JOBS_ENDPOINT, MAX_LINES, BatchRequest
from core.batches.schemas import BatchError, BatchEstimate, BatchObject, RequestCounts
from core.errors import IdempotencyConflict
from core.requests.fields import MetadataKey, MetadataValue
from core.requests.job import SharedParameters, validate
from core.responses.job import JobError
from core.rows.job import BatchJobRow
from core.status import BatchStatus, JobStatus
from core.text import Text, shorten

PAGE_LINES = 50
"""Lines of a batch in one result."""

PROMPT_CHARS = 200
"""Characters of a line's prompt. Clients limit the bytes of a result; see `content.py`."""


class BatchArguments(SharedParameters):
    """The arguments of `generate_batch`."""

    prompts: Annotated[list[Text], MinLen(1), MaxLen(MAX_LINES)] = Field(
        fail_fast=True, description="A prompt for each line of the batch. All other arguments apply to every line."
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], MaxLen(16)] = Field(
        default_factory=dict, description="Up to 16 key-value pairs of your choice."
    )
    dry_run: bool = Field(False, description="Only validate and estimate; nothing is generated.")
    idempotency_key: IdempotencyKey | None = Field(None, description=KEY_DESCRIPTION)


class BatchStatusArguments(BaseModel):
    """The arguments of `batch_status`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    batch_id: SubjectId = Field(description="Id of a batch, as generate_batch returned it: `batch_...`.")
    wait_seconds: WaitSeconds = Field(
        0, description="Wait so long for the end of the batch; 0 returns at once. The result comes earlier if it ends."
    )
    after_line: Annotated[int, Ge(0), Le(MAX_LINES)] = Field(
        0, description=f"Return lines after this one. A result has {PAGE_LINES} of them at most."
    )


class LineImage(BaseModel):
    """An image of a line."""

    image_id: str
    url: str


class BatchLine(BaseModel):
    """A finished line of a batch."""

    line: int = Field(description="Number of the line, from 1: the place of its prompt in `prompts`.")
    job_id: str
    status: JobStatus
    prompt: str = Field(description=f"Its prompt, up to {PROMPT_CHARS} characters of it.")
    images: list[LineImage]
    error: JobError | None = None


class BatchLinks(BaseModel):
    """Addresses of a batch. They need an API key."""

    self: str
    images: str = Field(description="All images as a zip file.")
    manifest: str = Field(description="A CSV table of the lines and their images.")


class BatchResult(BaseModel):
    """A batch: its counts, and the lines that are finished."""

    batch_id: str
    status: BatchStatus
    counts: RequestCounts
    estimated_finish_at: int | None = Field(None, description="Estimated end in Unix seconds, if it is known.")
    lines: list[BatchLine] = Field(description="Finished lines, in order; job_status has the images of one of them.")
    last_line: int | None = Field(
        None,
        description="Pass it as `after_line` for more lines. Absent: there are no more. Earlier lines may finish "
        "later: when the batch is final, begin with 0 again.",
    )
    errors: list[BatchError] = Field(description="The invalid lines of a failed batch.")
    urls: BatchLinks
    next_step: str | None = Field(None, description="What to do next.")


class SubmittedBatch(BaseModel):
    """A batch that was submitted, or the estimate of a dry run."""

    batch_id: str | None = Field(None, description="Absent in a dry run.")
    status: BatchStatus | None = None
    counts: RequestCounts
    estimate: BatchEstimate
    urls: BatchLinks | None = None
    next_step: str | None = Field(None, description="What to do next.")


async def generate_batch(call: Call, arguments: BatchArguments) -> Answer:
    """The tool `generate_batch`. Raises InvalidRequest, TooManyBatches, InsufficientQuota."""
    names = arguments.model_fields_set & BatchRequest.model_fields.keys()
    values = {name: getattr(arguments, name) for name in names} | {"endpoint": JOBS_ENDPOINT}
    request = validate(BatchRequest, values)
    cost = await estimate(call.context, call.project_id, request)
    if request.dry_run:
        return Answer(SubmittedBatch(counts=RequestCounts(total=cost.total), estimate=cost))
    with anyio.CancelScope(shield=True):
        batch = await _submit(call, request, arguments.idempotency_key)
    return Answer(
        SubmittedBatch(
            batch_id=batch.id,
            status=batch.status,
            counts=batch.request_counts,
            estimate=cost,
            urls=_links(batch),
            next_step=_next_step(batch),
        )
    )


async def batch_status(call: Call, arguments: BatchStatusArguments) -> Answer:
    """The tool `batch_status`. Raises NotFound."""
    check_prefix(arguments.batch_id, "batch", "job_status")
    context = call.context
    batch = await show(context, call.project_id, arguments.batch_id)
    if arguments.wait_seconds and not batch.status.is_final:
        await call.wait(_report_until_final(call, batch.id), arguments.wait_seconds)
        batch = await show(context, call.project_id, batch.id)
    rows = await context.database.execute(
        batch_queries.list_lines(batch.id, after=arguments.after_line - 1, limit=PAGE_LINES + 1)
    )
    lines = [_line(call, row) for row in rows[:PAGE_LINES] if JobStatus(row.status).is_final]
    return Answer(
        BatchResult(
            batch_id=batch.id,
            status=batch.status,
            counts=batch.request_counts,
            estimated_finish_at=None if batch.progress is None else batch.progress.estimated_finish_at,
            lines=lines,
            last_line=rows[PAGE_LINES - 1].batch_index + 1 if len(rows) > PAGE_LINES else None,
            errors=[] if batch.errors is None else batch.errors.data,
            urls=_links(batch),
            next_step=_next_step(batch),
        )
    )


async def _submit(call: Call, request: BatchRequest, key: str | None) -> BatchObject:
    """The batch of a request, new or of an earlier call with the key.

    Raises IdempotencyMismatch, IdempotencyConflict, TooManyBatches, InsufficientQuota.
    """
    keyed_request = None
    if key is not None:
        values = request.model_dump(mode="json", exclude_unset=True)
        keyed_request = KeyedRequest(key, idempotency.fingerprint("/mcp", values))
        if (earlier := await _earlier_batch(call, keyed_request)) is not None:
            return earlier
    batch = await submit(call.context, call.caller, request, keyed_request)
    if batch is None and keyed_request is not None:
        batch = await _earlier_batch(call, keyed_request)
    if batch is None:
        raise IdempotencyConflict
    return batch


async def _earlier_batch(call: Call, keyed_request: KeyedRequest) -> BatchObject | None:
    """The batch of an earlier call with a key. Raises IdempotencyMismatch."""
    stored = await lookup(call.context, call.project_id, keyed_request.key, keyed_request.fingerprint)
    return None if stored is None else await show(call.context, call.project_id, stored["id"])


async def _report_until_final(call: Call, batch_id: str) -> None:
    """Report a batch's counts until it is final."""
    async with call.context.listener.watch(batch_id) as messages:
        while True:
            batch = await show(call.context, call.project_id, batch_id)
            counts = batch.request_counts
            finished_lines = counts.total - counts.queued - counts.in_progress
            message = f"{finished_lines} of {counts.total} lines are finished"
            await call.report(finished_lines, counts.total or None, message)
            if batch.status.is_final:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await messages.get()


def _line(call: Call, row: BatchJobRow) -> BatchLine:
    sign = call.context.storage.url
    return BatchLine(
        line=row.batch_index + 1,
        job_id=row.id,
        status=JobStatus(row.status),
        prompt=shorten(row.prompt, PROMPT_CHARS),
        images=[LineImage(image_id=image["id"], url=sign(image["id"], image["storage_key"])) for image in row.images],
        error=None if row.error_code is None else JobError(code=row.error_code, message=row.error_message or ""),
    )


def _links(batch: BatchObject) -> BatchLinks:
    return BatchLinks(self=batch.urls.self, images=batch.urls.images, manifest=batch.urls.manifest)


def _next_step(batch: BatchObject) -> str | None:
    if batch.status.is_final:
        return None
    return f"Call batch_status with batch_id {batch.id} and wait_seconds {MAX_WAIT_SECONDS} to follow it."


GENERATE_BATCH = Tool(
    name="generate_batch",
    title="Generate a batch of images",
    description="Generate images for many prompts that share all other arguments. Returns at once, with the id of the "
    "batch, counts and an estimate; follow it with batch_status. Every prompt is checked before anything is generated.",
    arguments=BatchArguments,
    result=SubmittedBatch,
    run=generate_batch,
    operation="generation",
    hidden=HIDDEN,
    is_submission=True,
)
BATCH_STATUS = Tool(
    name="batch_status",
    title="Follow a batch",
    description="Get the counts of a batch, links to the images that are finished, and why lines failed.",
    arguments=BatchStatusArguments,
    result=BatchResult,
    run=batch_status,
    is_read_only=True,
)
