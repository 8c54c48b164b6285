"""Generates the images of a micro-batch on the device.

When the device runs out of memory, the images are generated in two halves, and the smaller size becomes the limit for
later claims. When the generator fails, each job is tried alone, so that only the job that causes the failure fails.
`Stopped` ends all jobs.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image

from core.catalog import Model
from core.generation import Generator, ImageRequest, ImagesRejected, Stopped
from core.generation_errors import DeviceFailed, GenerationError, GeneratorFailed, ModelUnavailable, OutOfMemory
from core.job_warnings import JobWarning
from core.provider_calls import Pause
from core.rows.job import JobRow
from core.self_test import describe
from core.telemetry import metrics
from worker.generation.context import Context
from worker.generation.inputs import Inputs
from worker.generation.progress import MicrobatchReporter

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """The result of one job's attempt: images, an error, or a pause."""

    images: list[Image] = field(default_factory=list)
    error: GenerationError | None = None
    receipt: dict[str, Any] = field(default_factory=dict)
    warnings: list[JobWarning] = field(default_factory=list)
    used_values: dict[str, float] = field(default_factory=dict)
    """By parameter, the value with which the images were generated, where it is not that of the request."""
    pause: Pause | None = None
    """If set, the job is requeued for a while, and the attempt does not count."""
    is_paid: bool = False
    """Whether generating the images again would cost money again."""
    is_saved: bool = False
    """Whether the images are in the database until they are in storage; see `core.paid_images`."""


@dataclass(frozen=True, slots=True)
class _Task:
    """One image of one job."""

    job: JobRow
    index: int
    request: ImageRequest


def execute_locally(
    context: Context,
    claimed_jobs: Sequence[JobRow],
    inputs: Mapping[str, Inputs | GenerationError],
    generator: Generator,
    reporter: MicrobatchReporter,
) -> Mapping[str, Outcome]:
    """Generate all images of a claimed micro-batch. A job whose inputs are an error fails with it. Raises Stopped."""
    began = time.monotonic()
    outcomes = {job.id: Outcome() for job in claimed_jobs}
    model = context.catalog.model(claimed_jobs[0].model)
    tasks: list[_Task] = []
    for job in claimed_jobs:
        job_inputs = inputs[job.id]
        if isinstance(job_inputs, GenerationError):
            outcomes[job.id].error = job_inputs
            continue
        try:
            requests = image_requests(job, job_inputs, model)
        except GenerationError as error:
            outcomes[job.id].error = error
            continue
        tasks += [_Task(job, index, request) for index, request in enumerate(requests)]
        _add_warnings(outcomes[job.id], generator, requests[0])
    max_images = context.limits.current().get(claimed_jobs[0].microbatch_key, claimed_jobs[0].microbatch_size)
    passes = _passes(context, generator, tasks, max_images)
    reporter.passes = len(passes)
    try:
        for tasks_of_pass in passes:
            _generate(context, tasks_of_pass, generator, reporter, outcomes)
    except DeviceFailed as failure:
        _record_device_failure(context, claimed_jobs, outcomes, failure)
    else:
        context.health.record_success()
        if all(outcome.error is None for outcome in outcomes.values()):  # what fails may take no time at all
            context.claim_sizes.record("generate", claimed_jobs, time.monotonic() - began)
    seconds = round(time.monotonic() - began, 3)
    receipt = {**generator.receipt(), "device_seconds": seconds, "microbatch": len(tasks)}
    if (result := context.models.self_test(model.id)) is not None:
        receipt["self_test"] = describe(result)
    for job in claimed_jobs:
        alone = {"alone": True} if job.parameters.deterministic else {}
        outcomes[job.id].receipt = {**receipt, **alone}
    return outcomes


def _record_device_failure(
    context: Context, claimed_jobs: Sequence[JobRow], outcomes: Mapping[str, Outcome], failure: DeviceFailed
) -> None:
    """The jobs that have all their images are well; the others fail with the device."""
    unfinished = [job for job in claimed_jobs if len(outcomes[job.id].images) < job.n]
    unfinished = [job for job in unfinished if outcomes[job.id].error is None]
    for job in unfinished:
        outcomes[job.id].error = failure
    context.record_device_failure([job.id for job in unfinished], failure)


def _passes(
    context: Context, generator: Generator, tasks: Sequence[_Task], max_images: int
) -> Sequence[Sequence[_Task]]:
    """The passes over the device: in each at most so many images, and none that could change another's image.

    If no two jobs can share a pass, later claims take one job.
    """
    groups: dict[object, list[_Task]] = {}
    for number, task in enumerate(tasks):
        key = generator.sharing_key(task.request)
        groups.setdefault(("alone", number) if key is None else ("shared", key), []).append(task)
    jobs = {task.job.id for task in tasks}
    if len(jobs) > 1 and all(len({task.job.id for task in group}) == 1 for group in groups.values()):
        context.alone.add(tasks[0].job.microbatch_key)
    return [
        group[start : start + max_images] for group in groups.values() for start in range(0, len(group), max_images)
    ]


def _add_warnings(outcome: Outcome, generator: Generator, request: ImageRequest) -> None:
    """Add the generator's warnings about a job. One request is enough: a job's images differ only in the seed."""
    try:
        notices = dict.fromkeys(generator.notices(request))
    except Exception as error:
        outcome.error = _as_generation_error(error)
        return
    outcome.warnings = [JobWarning(code=notice.code, message=notice.message, param=notice.param) for notice in notices]
    outcome.used_values = {
        notice.param: notice.value for notice in notices if notice.param and notice.value is not None
    }


def image_requests(job: JobRow, inputs: Inputs, model: Model) -> list[ImageRequest]:
    """The requests for a job's images. Raises ModelUnavailable for parameters that this worker does not know."""
    if unknown := job.parameters.unknown:
        raise ModelUnavailable(f"This worker is older than the API: it does not know {', '.join(unknown)}.")
    if (style := job.parameters.style) is not None and style not in model.styles:
        raise ModelUnavailable(f"This worker's catalogue has no style {style} of {model.id}.")
    prompt = job.prompt + (model.styles[style].prompt_suffix if style is not None else "")
    return [
        ImageRequest(
            prompt,
            job.parameters.of_image(index),
            job.operation,
            inputs.image,
            inputs.mask,
            inputs.reference_images,
            inputs.control_images,
        )
        for index in range(job.n)
    ]


def _generate(
    context: Context,
    tasks: Sequence[_Task],
    generator: Generator,
    reporter: MicrobatchReporter,
    outcomes: Mapping[str, Outcome],
) -> None:
    """Generate images in one pass over the device. After a failure, try smaller passes."""
    tasks = [task for task in tasks if outcomes[task.job.id].error is None]
    if not tasks:
        return
    reporter.begin([(task.job.id, task.index) for task in tasks])
    try:
        images = _generate_on_device(tasks, generator, reporter)
    except (Stopped, DeviceFailed):
        raise
    except ImagesRejected as rejection:
        _record(tasks, rejection.results, outcomes)
        reporter.passes_done += 1
        return
    except OutOfMemory as error:
        if context.models.unload_others(tasks[0].job.model):
            log.warning("out of memory with %d images: the other models have left the device", len(tasks))
            _generate(context, tasks, generator, reporter, outcomes)
            return
        if len(tasks) == 1:
            outcomes[tasks[0].job.id].error = error
            return
        half = len(tasks) // 2
        context.limits.record(tasks[0].job.microbatch_key, half)
        log.warning("out of memory with %d images of %s; trying %d", len(tasks), tasks[0].job.microbatch_key, half)
        parts = [tasks[:half], tasks[half:]]
    except Exception as error:
        parts = _by_job(tasks)
        if len(parts) == 1:
            outcomes[tasks[0].job.id].error = _as_generation_error(error)
            return
        log.warning("a micro-batch of %d jobs failed (%s); trying each alone", len(parts), error)
    else:
        _record(tasks, images, outcomes)
        reporter.passes_done += 1
        return
    reporter.passes += len(parts) - 1
    for part in parts:
        _generate(context, part, generator, reporter, outcomes)


def _generate_on_device(
    tasks: Sequence[_Task], generator: Generator, reporter: MicrobatchReporter
) -> Sequence[Image | GenerationError]:
    """One pass over the device, whose time is counted however it ends."""
    began = time.monotonic()
    try:
        return generator.generate([task.request for task in tasks], reporter)
    finally:
        metrics.DEVICE_SECONDS.labels(tasks[0].job.model).inc(time.monotonic() - began)


def _record(
    tasks: Sequence[_Task], results: Sequence[Image | GenerationError], outcomes: Mapping[str, Outcome]
) -> None:
    """Add each result to the outcome of its job. A job with one unusable image fails as a whole."""
    for task, result in zip(tasks, results, strict=True):
        if isinstance(result, GenerationError):
            outcomes[task.job.id].error = result
        else:
            outcomes[task.job.id].images.append(result)


def _by_job(tasks: Sequence[_Task]) -> list[list[_Task]]:
    groups: dict[str, list[_Task]] = {}
    for task in tasks:
        groups.setdefault(task.job.id, []).append(task)
    return list(groups.values())


def _as_generation_error(error: Exception) -> GenerationError:
    """An error of a generator; one that is not a GenerationError is logged and becomes a GeneratorFailed."""
    if isinstance(error, GenerationError):
        return error
    log.error("the generator failed", exc_info=error)
    return GeneratorFailed(f"The model failed while generating: {type(error).__name__}: {error}")
