"""Dry runs of batches: every line is validated as the batch processor does it, and nothing is stored."""

import asyncio
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from api.batches.submission import REQUESTS_FILE, as_lines, input_file, template_job
from api.context import Context
from api.fine_tuning.models import catalog_of_project
from api.inputs import read_inputs as read_images
from core import provider_calls
from core.batches.input_file import max_line_bytes, parse_lines
from core.batches.input_summary import InputSummary
from core.batches.line import Line, ReadOptions
from core.batches.requests import BatchRequest
from core.batches.schemas import BatchError, BatchErrors, BatchEstimate, input_summary
from core.batches.transitions import LineError
from core.batches.validation import BatchCheck
from core.requests.job import JobRequest


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals of a batch's lines."""

    total: int
    models: Mapping[str, int]  # lines, by model
    images: Mapping[str, int]  # images, by model
    seconds: Mapping[str, float]  # of the device, by queue
    errors: Sequence[LineError] = ()
    input: InputSummary | None = None


async def estimate(context: Context, project_id: str, request: BatchRequest) -> BatchEstimate:
    """Validate a batch's lines and estimate their cost. Raises InvalidRequest for errors outside of the lines."""
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
    chunks: Iterable[bytes]
    if request.requests is not None:
        filename, chunks = REQUESTS_FILE, as_lines(request.requests, request.target_endpoint)
    else:
        row = await input_file(context, project_id, request.input_file_id or "")
        filename, chunks = row.filename, context.storage.stream(row.storage_key)
    loop = asyncio.get_running_loop()

    def read_inputs(job: JobRequest) -> Mapping[str, str]:
        """Like the batch processor's `BatchInputs`, but stores nothing."""
        return asyncio.run_coroutine_threadsafe(read_images(context, project_id, job), loop).result().ids

    check = BatchCheck(catalog, context.settings, project_id, read_inputs, estimates=estimates)
    options = ReadOptions(
        request.target_endpoint, request.shared_parameters, max_line_bytes(context.settings), request.extra_columns
    )
    summary = InputSummary()
    lines = parse_lines(filename, chunks, options, summary)
    await context.threads.dry_runs.run(project_id, _validate, check, lines)
    summary_of_file = None if request.input_file_id is None else summary
    totals = Totals(
        check.total - summary.header_errors, check.models, check.images, check.seconds, check.errors, summary_of_file
    )
    return await _estimate(context, project_id, totals)


def _validate(check: BatchCheck, lines: Generator[Line | LineError, None, None]) -> None:
    with closing(lines):  # with its temporary files
        for line in lines:
            if not check.add(line):
                return


async def _estimate(context: Context, project_id: str, totals: Totals) -> BatchEstimate:
    return BatchEstimate(
        total=totals.total,
        images=sum(totals.images.values()),
        models=dict(totals.models),
        device_seconds=round(sum(totals.seconds.values()), 3),
        estimated_finish_at=await context.estimates.finish_at(totals.seconds),
        cost_usd=await _cost(context, project_id, totals.images),
        input=None if totals.input is None else input_summary(totals.input.as_json()),
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
