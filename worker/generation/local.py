"""A micro-batch on the device: every image of its jobs, or the reason why there is none.

Running out of memory halves what goes through the device together and is remembered; a request that makes the
generator fail is found by trying each job alone, so that its companions do not suffer. `Stopped` ends all at once.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL.Image import Image

from core.errors import GenerationError, GeneratorFailed, ModelUnavailable, OutOfMemory
from core.generation import Generator, ImageRequest, Stopped
from core.jobs import JobWarning
from core.provider_calls import Pause
from core.rows import JobRow
from worker.generation.context import Context
from worker.generation.inputs import Inputs
from worker.generation.progress import MicrobatchReporter

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Outcome:
    """What came of one job."""

    images: list[Image] = field(default_factory=list)
    error: GenerationError | None = None
    receipt: dict[str, Any] = field(default_factory=dict)
    warnings: list[JobWarning] = field(default_factory=list)
    pause: Pause | None = None
    """Of a job that goes back to the line for a while, at no cost of an attempt."""
    is_paid: bool = False
    """Whether the images cannot be had a second time without paying twice."""


@dataclass(frozen=True, slots=True)
class _Task:
    """One image of one job."""

    job: JobRow
    index: int
    request: ImageRequest


def execute_locally(
    context: Context,
    batch: Sequence[JobRow],
    inputs: Mapping[str, Inputs | GenerationError],
    generator: Generator,
    reporter: MicrobatchReporter,
) -> Mapping[str, Outcome]:
    """Draw every image of a claimed micro-batch. A job whose inputs are an error has that outcome. Raises Stopped."""
    began = time.monotonic()
    outcomes = {job.id: Outcome() for job in batch}
    tasks: list[_Task] = []
    for job in batch:
        found = inputs[job.id]
        if isinstance(found, GenerationError):
            outcomes[job.id].error = found
            continue
        try:
            requests = image_requests(job, found)
        except GenerationError as error:
            outcomes[job.id].error = error
            continue
        tasks += [_Task(job, index, request) for index, request in enumerate(requests)]
        _warn(outcomes[job.id], generator, requests[0])
    room = context.limits.get(batch[0].microbatch_key, batch[0].microbatch_size)
    passes = [tasks[start : start + room] for start in range(0, len(tasks), room)]
    reporter.passes = len(passes)
    for part in passes:
        _draw(context, part, generator, reporter, outcomes)
    seconds = round(time.monotonic() - began, 3)
    for outcome in outcomes.values():
        outcome.receipt = {**generator.receipt(), "device_seconds": seconds, "microbatch": len(tasks)}
    return outcomes


def _warn(outcome: Outcome, generator: Generator, request: ImageRequest) -> None:
    """Note what the model will not see of a job. Its images differ by the seed alone, so one stands for all."""
    try:
        notices = dict.fromkeys(generator.notices(request))
    except Exception as error:
        outcome.error = _in_our_words(error)
        return
    outcome.warnings = [JobWarning(code=notice.code, message=notice.message, param=notice.param) for notice in notices]


def image_requests(job: JobRow, inputs: Inputs) -> list[ImageRequest]:
    """The requests for a job's images. Raises ModelUnavailable for parameters that this worker does not know."""
    if unknown := job.parameters.unknown:
        raise ModelUnavailable(f"This worker is older than the API: it does not know {', '.join(unknown)}.")
    return [
        ImageRequest(job.prompt, job.parameters.of_image(index), job.operation, inputs.image, inputs.mask)
        for index in range(job.n)
    ]


def _draw(
    context: Context,
    tasks: Sequence[_Task],
    generator: Generator,
    reporter: MicrobatchReporter,
    outcomes: Mapping[str, Outcome],
) -> None:
    """Draw some images in one pass; on failure in several, so that only the guilty job fails."""
    tasks = [task for task in tasks if outcomes[task.job.id].error is None]
    if not tasks:
        return
    reporter.begin([(task.job.id, task.index) for task in tasks])
    try:
        images = generator.generate([task.request for task in tasks], reporter)
    except Stopped:
        raise
    except OutOfMemory as error:
        if len(tasks) == 1:
            outcomes[tasks[0].job.id].error = error
            return
        half = len(tasks) // 2
        context.limits[tasks[0].job.microbatch_key] = half
        log.warning("out of memory with %d images of %s; trying %d", len(tasks), tasks[0].job.microbatch_key, half)
        parts = [tasks[:half], tasks[half:]]
    except Exception as error:
        parts = _by_job(tasks)
        if len(parts) == 1:
            outcomes[tasks[0].job.id].error = _in_our_words(error)
            return
        log.warning("a micro-batch of %d jobs failed (%s); trying each alone", len(parts), error)
    else:
        for task, image in zip(tasks, images, strict=True):
            outcomes[task.job.id].images.append(image)
        reporter.passes_done += 1
        return
    reporter.passes += len(parts) - 1
    for part in parts:
        _draw(context, part, generator, reporter, outcomes)


def _by_job(tasks: Sequence[_Task]) -> list[list[_Task]]:
    groups: dict[str, list[_Task]] = {}
    for task in tasks:
        groups.setdefault(task.job.id, []).append(task)
    return list(groups.values())


def _in_our_words(error: Exception) -> GenerationError:
    """What a generator raised; outside its contract that is a GeneratorFailed, and a line in the log."""
    if isinstance(error, GenerationError):
        return error
    log.error("the generator failed", exc_info=error)
    return GeneratorFailed(f"The model failed while drawing: {type(error).__name__}: {error}")
