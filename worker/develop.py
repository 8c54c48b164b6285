"""A micro-batch on the device: every picture of its jobs, or the reason why there is none.

Running out of memory halves what goes through the device together and is remembered; a request that makes the
generator fail is found by trying each job alone, so that its companions do not suffer. `Stopped` ends all at once.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from PIL.Image import Image

from core.errors import GenerationError, GeneratorFailed, OutOfMemory
from core.generation import Generator, ImageRequest, Stopped
from core.progress import Step
from core.requests import SEEDS
from worker.context import Context
from worker.heartbeat import Heartbeat

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 0.25
"""Progress is published at most four times a second."""


@dataclass(slots=True)
class Outcome:
    """What came of one job."""

    pictures: list[Image] = field(default_factory=list)
    error: GenerationError | None = None
    receipt: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Task:
    """One image of one job."""

    job: sa.Row[Any]
    request: ImageRequest


class MicroBatchWatch:
    """Hears the denoiser's steps: keeps the heartbeat going, publishes progress, stops what nobody wants."""

    def __init__(self, context: Context, batch: Sequence[sa.Row[Any]], heartbeat: Heartbeat) -> None:
        self._context = context
        self._heartbeat = heartbeat
        self._attempts = {job.id: job.attempts for job in batch}
        self._deadline = time.monotonic() + context.settings.attempt_timeout.total_seconds()
        self._published_at = 0.0
        self.passes_done = 0
        self.passes = 1

    @property
    def is_too_late(self) -> bool:
        """Whether the attempt has taken as long as an attempt may."""
        return time.monotonic() >= self._deadline

    def step(self, done: int, total: int) -> None:
        """See `core.generation.Watch`."""
        self._heartbeat.moved()
        if not self._heartbeat.wants_any or self._context.drain.is_over or self.is_too_late:
            raise Stopped
        now = time.monotonic()
        if now - self._published_at >= PUBLISH_SECONDS or done == total:
            self._published_at = now
            step = self.passes_done * total + done
            self._context.progress.steps(
                {
                    job_id: Step(attempt=attempt, step=step, steps=self.passes * total)
                    for job_id, attempt in self._attempts.items()
                    if self._heartbeat.wants(job_id)
                }
            )

    def preview(self, draw: Callable[[], Sequence[Image]]) -> None:
        """See `core.generation.Watch`; nobody looks yet."""


def develop(
    context: Context, batch: Sequence[sa.Row[Any]], generator: Generator, watch: MicroBatchWatch
) -> Mapping[str, Outcome]:
    """Draw every image of a claimed micro-batch. Raises Stopped."""
    began = time.monotonic()
    outcomes = {job.id: Outcome() for job in batch}
    tasks = [_Task(job, request) for job in batch for request in image_requests(job)]
    room = context.limits.get(batch[0].batch_key, batch[0].microbatch)
    passes = [tasks[start : start + room] for start in range(0, len(tasks), room)]
    watch.passes = len(passes)
    for part in passes:
        _draw(context, part, generator, watch, outcomes)
    seconds = round(time.monotonic() - began, 3)
    for outcome in outcomes.values():
        outcome.receipt = {**generator.receipt(), "device_seconds": seconds, "microbatch": len(tasks)}
    return outcomes


def image_requests(job: sa.Row[Any]) -> list[ImageRequest]:
    """A job's images as the generator is asked for them; image i has seed + i."""
    width, height = (int(side) for side in job.size.split("x"))
    return [
        ImageRequest(
            prompt=job.prompt,
            negative_prompt=job.negative_prompt,
            seed=(job.seed + index) % SEEDS,
            width=width,
            height=height,
            steps=job.steps,
            guidance_scale=job.guidance_scale,
        )
        for index in range(job.n)
    ]


def _draw(
    context: Context,
    tasks: Sequence[_Task],
    generator: Generator,
    watch: MicroBatchWatch,
    outcomes: Mapping[str, Outcome],
) -> None:
    """Draw some images in one pass; on failure in several, so that only the guilty job fails."""
    tasks = [task for task in tasks if outcomes[task.job.id].error is None]
    if not tasks:
        return
    try:
        pictures = generator.generate([task.request for task in tasks], watch)
    except Stopped:
        raise
    except OutOfMemory as error:
        if len(tasks) == 1:
            outcomes[tasks[0].job.id].error = error
            return
        half = len(tasks) // 2
        context.limits[tasks[0].job.batch_key] = half
        log.warning("out of memory with %d images of %s; trying %d", len(tasks), tasks[0].job.batch_key, half)
        parts = [tasks[:half], tasks[half:]]
    except Exception as error:
        parts = _by_job(tasks)
        if len(parts) == 1:
            outcomes[tasks[0].job.id].error = _in_our_words(error)
            return
        log.warning("a micro-batch of %d jobs failed (%s); trying each alone", len(parts), error)
    else:
        for task, picture in zip(tasks, pictures, strict=True):
            outcomes[task.job.id].pictures.append(picture)
        watch.passes_done += 1
        return
    watch.passes += len(parts) - 1
    for part in parts:
        _draw(context, part, generator, watch, outcomes)


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
