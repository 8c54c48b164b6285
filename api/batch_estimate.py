"""What a batch would be: every line read and checked as the clerk would, nothing made."""

import asyncio
from collections.abc import Iterable, Mapping

from api.batch_submission import as_lines, input_file, job_like
from api.context import Context
from api.inputs import read as read_picture
from core import inputs
from core.batch_check import BatchCheck
from core.batch_requests import BatchRequest
from core.batch_schemas import BatchError, BatchErrors, BatchEstimate
from core.jobs import NOW
from core.lines import Kind, Reading, longest_line, read
from core.requests import JobRequest


async def estimate(parts: Context, project_id: str, wanted: BatchRequest) -> BatchEstimate:
    """Check a batch's lines and say what they would cost. Raises InvalidRequest for what is wrong beside them."""
    if wanted.prompts is not None:
        like = job_like(parts, project_id, wanted, wanted.prompts)
        total = len(wanted.prompts)
        return await _estimate(parts, total, total * like.n, {like.model: total}, {like.queue: total * like.cost}, [])
    chunks: Iterable[bytes]
    kind: Kind
    if wanted.requests is not None:
        kind, chunks = "jsonl", as_lines(wanted.requests, wanted.door)
    else:
        kind, row = await input_file(parts, project_id, wanted.input_file_id or "")
        chunks = parts.storage.stream(row.storage_key)
    loop = asyncio.get_running_loop()

    def bring(request: JobRequest) -> Mapping[str, str]:
        """The clerk's `BatchInputs`, with nothing kept."""
        return asyncio.run_coroutine_threadsafe(_ids(parts, project_id, request), loop).result()

    check = BatchCheck(parts.catalog, parts.settings, project_id, bring)
    reading = Reading(wanted.door, wanted.shared, longest_line(parts.settings))
    async with parts.decoders:
        await asyncio.to_thread(_look, check, kind, chunks, reading)
    errors = [BatchError(**error) for error in check.errors]
    return await _estimate(parts, check.total, check.images, check.models, check.seconds, errors)


async def _ids(parts: Context, project_id: str, request: JobRequest) -> Mapping[str, str]:
    data = {name: await read_picture(parts, project_id, name, src) for name, src in inputs.sources(request).items()}
    return (await asyncio.to_thread(inputs.assemble, project_id, request, data, parts.settings)).ids


def _look(check: BatchCheck, kind: Kind, chunks: Iterable[bytes], reading: Reading) -> None:
    for line in read(kind, chunks, reading):
        if not check.take(line):
            return


async def _estimate(
    parts: Context,
    total: int,
    images: int,
    models: Mapping[str, int],
    seconds: Mapping[str, float],
    errors: list[BatchError],
) -> BatchEstimate:
    return BatchEstimate(
        total=total,
        images=images,
        models=dict(models),
        device_seconds=round(sum(seconds.values()), 3),
        estimated_finish_at=await _end(parts, seconds),
        errors=BatchErrors(data=errors),
    )


async def _end(parts: Context, seconds: Mapping[str, float]) -> int | None:
    """When one device a queue would be done with these seconds and what waits there already."""
    if not seconds or any(parts.catalog.is_remote(queue) for queue in seconds):
        return None
    queue_of = {model.id: model.queue for model in parts.catalog.models}
    waiting = dict(seconds)
    for model, depth in (await parts.depths.by_model()).items():
        if (queue := queue_of.get(model)) in waiting and queue is not None:
            waiting[queue] += depth.device_seconds
    now = (await parts.database.execute(NOW.select()))[0][0]
    return int(now.timestamp() + max(waiting.values()))
