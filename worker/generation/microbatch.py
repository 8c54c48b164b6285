"""The story of one micro-batch: claim, draw, store, complete.

`run` is what a task does. While one micro-batch is being encoded and uploaded by one thread, the next is on the device
in another: the device is held only to claim and to draw. Every write shows the lease's token, so that a worker that was
frozen, cut off or presumed dead changes nothing when it wakes.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from PIL.Image import Image

from core import jobs, leases
from core.catalog import Model
from core.db import UNAVAILABLE, Statement
from core.errors import (
    AttemptTimeout,
    GenerationError,
    ModelNotFound,
    ModelUnavailable,
    PostprocessFailed,
    ProviderMayHaveBilled,
    StorageFailed,
    StorageUnavailable,
    first_line,
)
from core.generation import Stopped
from core.ids import new_id
from core.jobs import StoredImage
from core.parameters import ResolvedParameters, rules
from core.rows import JobRow
from core.storage import MEDIA_TYPES, image_key
from worker.generation.context import Context
from worker.generation.encode import encode, xmp
from worker.generation.heartbeat import Heartbeat
from worker.generation.inputs import read_all
from worker.generation.local import Outcome, execute_locally
from worker.generation.postprocess import apply
from worker.generation.progress import MicrobatchReporter
from worker.generation.provider import execute_remotely

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Microbatch:
    """Jobs that were claimed together, under one lease."""

    lease: UUID
    jobs: Sequence[JobRow]
    heartbeat: Heartbeat

    @property
    def is_suspect(self) -> bool:
        """Whether it has taken a worker down before: then no other job's images may be in hand beside it."""
        return bool(self.jobs[0].crashes)


def run(context: Context, queue: str) -> bool:
    """Develop one micro-batch of a queue. Returns whether there was one."""
    device, upload_lock = context.locks(queue)
    with ExitStack() as held:
        with device:
            batch = claim(context, queue)
            if batch is None:
                return False
            context.notifier.notify(queue)
            held.enter_context(batch.heartbeat)
            if batch.is_suspect:
                held.enter_context(upload_lock)
                record_results(context, batch, draw(context, batch))
                return True
            outcomes = draw(context, batch)
        with upload_lock:
            record_results(context, batch, outcomes)
        return True


def claim(context: Context, queue: str) -> Microbatch | None:
    """Take the head of the line and what fits beside it; nothing when the line is empty or we are on our way out."""
    if context.drain.has_begun or context.is_paused(queue):
        return None
    lease = uuid4()
    claimed = context.database.execute(
        leases.claim(
            queue,
            lease,
            context.name,
            length=context.settings.lease,
            attempt_timeout=context.settings.attempt_timeout,
            limits=context.limits,
            fair_turn=context.count_claim(queue),
        )
    )
    if not claimed:
        return None
    job_ids = [job.id for job in claimed]
    context.progress.publish_changes(job_ids)
    return Microbatch(lease, claimed, Heartbeat(context, lease, job_ids))


def draw(context: Context, batch: Microbatch) -> Mapping[str, Outcome | None]:
    """What came of each job on the device; None for one that was left undrawn because we are on our way out."""
    reporter = MicrobatchReporter(context, batch.jobs, batch.heartbeat)
    try:
        inputs = read_all(context, batch.jobs)
        model = context.catalog.model(batch.jobs[0].model)
        if model.is_remote:
            return execute_remotely(
                context, batch.jobs, inputs, context.remote_generator(model), reporter, batch.heartbeat
            )
        generator = context.generator(model)
        batch.heartbeat.report_progress()
        return execute_locally(context, batch.jobs, inputs, generator, reporter)
    except Stopped:
        error: GenerationError | None = AttemptTimeout() if reporter.is_too_late else None
    except GenerationError as failure:
        error = failure
    except ModelNotFound as failure:
        error = ModelUnavailable(f"This worker's catalogue does not have the model. {failure.message}")
    return {job.id: None if error is None else Outcome(error=error) for job in batch.jobs}


def record_results(context: Context, batch: Microbatch, outcomes: Mapping[str, Outcome | None]) -> None:
    """Store what came of each job and write it down."""
    for job in batch.jobs:
        _record_result(context, batch, job, outcomes[job.id])


def _record_result(context: Context, batch: Microbatch, job: JobRow, outcome: Outcome | None) -> None:
    """Write down what came of a job, unless it is not ours or not wanted any more."""
    if not batch.heartbeat.is_active(job.id):
        return
    batch.heartbeat.report_progress()
    if outcome is None:
        verdict: Statement[JobRow] = jobs.requeue(job.id, batch.lease, "worker_draining")
    elif outcome.pause is not None:
        verdict = jobs.postpone(job.id, batch.lease, outcome.pause.reason, outcome.pause.delay)
    elif outcome.error is not None:
        verdict = _failed(context, batch, job, outcome.error)
    else:
        try:
            stored = (store_paid if outcome.is_paid else store)(context, batch, job, outcome)
            verdict = jobs.complete(job.id, batch.lease, stored, outcome.warnings)
        except PostprocessFailed as error:
            verdict = _failed(context, batch, job, error)
        except StorageUnavailable as error:
            verdict = _failed(context, batch, job, StorageFailed(error.message))
    record(context, batch, job.id, verdict)


def _failed(context: Context, batch: Microbatch, job: JobRow, error: GenerationError) -> Statement[JobRow]:
    """Try again later where that may help, else give up."""
    log.warning("job %s attempt %d: %s: %s", job.id, job.attempts, error.code, error.message)
    allowed = isinstance(error, ProviderMayHaveBilled) and context.settings.openai_retry_unknown
    if error.retryable or allowed:
        return jobs.requeue(job.id, batch.lease, error.code, error=error, delay=context.settings.retry_delay)
    return jobs.fail(job.id, batch.lease, error)


def store(context: Context, batch: Microbatch, job: JobRow, outcome: Outcome) -> list[StoredImage]:
    """Postprocess, encode and put a job's images. The database speaks of them only afterwards.

    Raises PostprocessFailed or StorageUnavailable.
    """
    stored: list[StoredImage] = []
    for index, drawn in enumerate(outcome.images):
        batch.heartbeat.report_progress()
        image = finish(drawn, job)
        parameters = job.parameters.of_image(index)
        packet = xmp(job.prompt, job.model, parameters.seed) if context.settings.embed_metadata else None
        data = encode(image, parameters.output_format, parameters.output_compression, packet)
        key = image_key(job.id, batch.lease, index, parameters.output_format)
        media_type = MEDIA_TYPES[parameters.output_format]
        context.storage.put(key, data, media_type)
        stored.append(
            StoredImage(
                id=new_id("img"),
                index=index,
                seed=parameters.seed,
                storage_key=key,
                media_type=media_type,
                width=image.width,
                height=image.height,
                bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                receipt={
                    **outcome.receipt,
                    **reproduction(job, parameters, context.catalog.model(job.model)),
                    "worker": context.name,
                },
            )
        )
    return stored


def store_paid(context: Context, batch: Microbatch, job: JobRow, outcome: Outcome) -> list[StoredImage]:
    """Store images that cannot be had again: as long as the lease lasts, where the store is away."""
    while True:
        try:
            return store(context, batch, job, outcome)
        except StorageUnavailable as error:
            if not batch.heartbeat.is_active(job.id):
                raise
            log.warning("job %s not stored yet: %s", job.id, error.message)
            batch.heartbeat.wait(1.0)


def finish(image: Image, job: JobRow) -> Image:
    """Do to an image what its job asks for. Raises PostprocessFailed."""
    if job.parameters.postprocess is None:
        return image
    try:
        return apply(image, job.parameters.postprocess)
    except (ValueError, OSError, MemoryError) as error:  # Pillow's, for whatever it cannot do
        raise PostprocessFailed(f"The image could not be postprocessed: {error}") from error


def reproduction(job: JobRow, parameters: ResolvedParameters, model: Model) -> dict[str, Any]:
    """What a receipt says so that an image can be generated again; see `Rule.receipt`."""
    stored = parameters.dump()
    kept = {
        name: stored[name]
        for name, rule in rules().items()
        if rule.receipt and name in stored and name not in model.lacks and job.operation in rule.operations
    }
    operation = {} if job.operation == "generation" else {"operation": job.operation}
    return {**kept, **operation, **job.inputs}


def record(context: Context, batch: Microbatch, job_id: str, verdict: Statement[JobRow]) -> None:
    """Put a verdict into the database, and again while the database is away and the lease may still be ours.

    A commit whose answer was lost is harmless: the repetition moves no row, because the first one did.
    """
    while batch.heartbeat.is_active(job_id):
        try:
            moved = context.database.execute(verdict)
        except UNAVAILABLE as error:
            log.warning("job %s not recorded yet: %s", job_id, first_line(error))
            batch.heartbeat.wait(0.5)
            continue
        batch.heartbeat.release(job_id)
        if moved:
            context.progress.publish_changes([job_id])
        else:
            log.warning("job %s was somebody else's by then; nothing recorded", job_id)
        return
