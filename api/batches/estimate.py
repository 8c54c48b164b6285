"""Dry runs of batches: every line is validated as the batch processor does it, and nothing is stored."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from api.batches.submission import REQUESTS_FILE, SMALL_BYTES, input_file, template_job
from api.context import Context
from api.fine_tuning.models import catalog_of_project
from api.inputs import normalize
from core import provider_calls
from core.batches.checkers import Source
from core.batches.dry_run import DryRun, Totals
from core.batches.requests import BatchRequest
from core.batches.schemas import BatchError, BatchErrors, BatchEstimate, input_summary
from core.parameters.image_source import ImageSource


async def estimate(
    context: Context, project_id: str, request: BatchRequest, lines: bytes | None = None
) -> BatchEstimate:
    """Validate a batch's lines and estimate their cost. lines: its `requests`, if it has any.

    Raises InvalidRequest for errors outside of the lines.
    """
    estimates = await context.estimates.current()
    catalog = await catalog_of_project(context, project_id)
    if request.prompts is not None:
        template, _ = template_job(context, catalog, project_id, request, request.prompts)
        model = catalog.model(template.model)
        total = len(request.prompts)
        together = min(total * template.n, model.microbatch_size)
        seconds = estimates.seconds(model, template.operation, template.parameters, together)
        totals = Totals(
            total,
            {template.model: total},
            {template.model: total * template.n},
            {template.queue: total * template.n * seconds},
        )
        return await _estimate(context, project_id, totals)
    chunks: Callable[[], Iterator[bytes]]
    if lines is not None:
        filename, chunks = REQUESTS_FILE, partial(iter, [lines])
    else:
        row = await input_file(context, project_id, request.input_file_id or "")
        filename, chunks = row.filename, partial(context.storage.stream, row.storage_key)
    dry_run = DryRun(catalog, estimates, project_id, filename, request)
    loop = asyncio.get_running_loop()

    def check_images(sources: Mapping[str, ImageSource], new: Sequence[str]) -> bool:
        images = normalize(context, project_id, sources, new)
        return asyncio.run_coroutine_threadsafe(images, loop).result().is_transparent

    if lines is not None and len(lines) <= SMALL_BYTES:
        threads = context.threads.dry_runs
        totals = await threads.run(project_id, dry_run.run, context.settings, chunks(), check_images)
    else:
        totals = await context.checkers.check(project_id, dry_run, Source(chunks, check_images))
    if lines is not None:
        totals = replace(totals, input=None)
    return await _estimate(context, project_id, totals)


async def _estimate(context: Context, project_id: str, totals: Totals) -> BatchEstimate:
    return BatchEstimate(
        total=totals.total,
        images=sum(totals.images.values()),
        models=dict(totals.models),
        device_seconds=round(sum(totals.seconds.values()), 3),
        estimated_finish_at=await context.estimates.finish_at(totals.seconds),
        cost_usd=await _cost(context, project_id, totals.images),
        input=None if totals.input is None else input_summary(totals.input),
        errors=BatchErrors(data=[BatchError(**error) for error in totals.errors]),
    )


async def _cost(context: Context, project_id: str, images: Mapping[str, int]) -> float | None:
    """The cost of a provider's images; local images cost nothing. None: unknown."""
    total = 0.0
    for model, count in images.items():
        if context.catalog.model(model).is_remote:
            (recent,) = await context.database.execute(provider_calls.cost_per_image(project_id, model))
            if recent.usd is None:
                return None
            total += recent.usd * count
    return round(total, 4)
