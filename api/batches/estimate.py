"""What a batch would be: every line read and checked as the batch processor would, nothing made."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from api.batches.submission import as_lines, input_file, job_like
from api.context import Context
from api.inputs import read_inputs as read_images
from core import provider_calls
from core.batches.input_file import Kind, Reading, max_line_bytes, read
from core.batches.requests import BatchRequest
from core.batches.schemas import BatchError, BatchErrors, BatchEstimate
from core.batches.transitions import LineError
from core.batches.validation import BatchCheck
from core.clock import NOW
from core.requests.job import JobRequest


@dataclass(frozen=True, slots=True)
class Found:
    """What a batch's lines ask for."""

    total: int
    models: Mapping[str, int]  # lines, by model
    images: Mapping[str, int]  # images, by model
    seconds: Mapping[str, float]  # of the device, by queue
    errors: Sequence[LineError] = ()


async def estimate(context: Context, project_id: str, wanted: BatchRequest) -> BatchEstimate:
    """Check a batch's lines and say what they would cost. Raises InvalidRequest for what is wrong beside them."""
    if wanted.prompts is not None:
        like = job_like(context, project_id, wanted, wanted.prompts)
        total = len(wanted.prompts)
        found = Found(total, {like.model: total}, {like.model: total * like.n}, {like.queue: total * like.cost})
        return await _estimate(context, project_id, found)
    chunks: Iterable[bytes]
    kind: Kind
    if wanted.requests is not None:
        kind, chunks = "jsonl", as_lines(wanted.requests, wanted.door)
    else:
        kind, row = await input_file(context, project_id, wanted.input_file_id or "")
        chunks = context.storage.stream(row.storage_key)
    loop = asyncio.get_running_loop()

    def read_inputs(request: JobRequest) -> Mapping[str, str]:
        """The batch processor's `BatchInputs`, with nothing kept."""
        return asyncio.run_coroutine_threadsafe(read_images(context, project_id, request), loop).result().ids

    check = BatchCheck(context.catalog, context.settings, project_id, read_inputs)
    reading = Reading(wanted.door, wanted.shared, max_line_bytes(context.settings))
    async with context.dry_runs:
        await asyncio.to_thread(_look, check, kind, chunks, reading)
    found = Found(check.total, check.models, check.images, check.seconds, check.errors)
    return await _estimate(context, project_id, found)


def _look(check: BatchCheck, kind: Kind, chunks: Iterable[bytes], reading: Reading) -> None:
    for line in read(kind, chunks, reading):
        if not check.take(line):
            return


async def _estimate(context: Context, project_id: str, found: Found) -> BatchEstimate:
    return BatchEstimate(
        total=found.total,
        images=sum(found.images.values()),
        models=dict(found.models),
        device_seconds=round(sum(found.seconds.values()), 3),
        estimated_finish_at=await _end(context, found.seconds),
        cost_usd=await _cost(context, project_id, found.images),
        errors=BatchErrors(data=[BatchError(**error) for error in found.errors]),
    )


async def _cost(context: Context, project_id: str, images: Mapping[str, int]) -> float | None:
    """What the images that a provider draws would cost; those that are drawn here cost nothing."""
    total = 0.0
    for model, count in images.items():
        if context.catalog.model(model).is_remote:
            (lately,) = await context.database.execute(provider_calls.cost_per_image(project_id, model))
            if lately.usd is None:
                return None
            total += lately.usd * count
    return round(total, 4)


async def _end(context: Context, seconds: Mapping[str, float]) -> int | None:
    """When one device a queue would be done with these seconds and what waits there already."""
    if not seconds or any(context.catalog.is_remote(queue) for queue in seconds):
        return None
    queue_of = {model.id: model.queue for model in context.catalog.models}
    waiting = dict(seconds)
    for model, depth in (await context.queue_stats.by_model()).items():
        if (queue := queue_of.get(model)) in waiting and queue is not None:
            waiting[queue] += depth.device_seconds
    now = (await context.database.execute(NOW.select()))[0][0]
    return int(now.timestamp() + max(waiting.values()))
