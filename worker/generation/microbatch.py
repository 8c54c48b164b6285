"""The steps of one micro-batch: claim it, generate its images, store them, complete its jobs.

A task of the worker calls `run`. While one thread encodes and uploads one micro-batch, another thread generates the
next: the device lock is held only to claim and to generate. Every write names the lease. So a worker that was frozen,
was cut off or is presumed dead changes nothing when it continues.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from uuid import UUID, uuid4

from core import jobs, leases, logs, metrics
from core.db import Statement
from core.device_failures import give_back
from core.errors import ModelNotFound, StorageUnavailable
from core.generation import Stopped
from core.generation_errors import (
    AttemptTimeout,
    ContentPolicyViolation,
    DeviceFailed,
    GenerationError,
    GeneratorFailed,
    ModelUnavailable,
    ModerationUnavailable,
    PostprocessFailed,
    ProviderMayHaveBilled,
    StorageFailed,
)
from core.job_metrics import record_starts
from core.jobs import Completion
from core.rows import JobRow
from worker.generation import traces
from worker.generation.context import Context
from worker.generation.heartbeat import Heartbeat
from worker.generation.inputs import Inputs, read_inputs
from worker.generation.local import Outcome, execute_locally
from worker.generation.moderation import JobInputs, reject_inputs, verdict_of
from worker.generation.progress import MicrobatchReporter
from worker.generation.provider import execute_remotely
from worker.generation.results import Result, Results
from worker.generation.uploads import Uploads

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Microbatch:
    """Jobs that were claimed together, under one lease."""

    lease: UUID
    jobs: Sequence[JobRow]
    heartbeat: Heartbeat

    @property
    def has_crashed_before(self) -> bool:
        """Whether an earlier attempt ended with the death of its worker."""
        return bool(self.jobs[0].crashes)


def run(context: Context, queue: str) -> bool:
    """Run one micro-batch of a queue from claim to completion. Returns whether there was one."""
    device_lock, upload_lock = context.locks(queue)
    with ExitStack() as stack:
        with device_lock:
            microbatch = claim(context, queue)
            if microbatch is None:
                return False
            context.notifier.notify(queue)  # the queue may hold more; another worker can claim it
            stack.enter_context(microbatch.heartbeat)
            if microbatch.has_crashed_before:
                # It may crash again: first let the images of other jobs be uploaded.
                stack.enter_context(upload_lock)
                store_and_complete(context, microbatch, generate(context, microbatch))
                return True
            began = datetime.now(UTC)
            outcomes = generate(context, microbatch)
            traces.record_generation(microbatch.jobs, began)
        with upload_lock:
            store_and_complete(context, microbatch, outcomes)
    context.check_memory()
    return True


def claim(context: Context, queue: str) -> Microbatch | None:
    """Claim the first job of a queue, with others that fit in one micro-batch with it.

    Returns None if the queue is empty or paused, or if the worker is stopping.
    """
    if context.drain.has_begun or context.is_paused(queue):
        return None
    lease = uuid4()
    is_fair_turn = context.count_claim(queue)
    resident_models = () if is_fair_turn else context.resident_models(queue)
    rows = _claim(context, queue, lease, is_fair_turn, resident_models)
    if resident_models and not rows:  # other workers may have claimed the same jobs at this moment
        rows = _claim(context, queue, lease, is_fair_turn)
    if not rows:
        return None
    record_starts(rows)
    job_ids = [row.id for row in rows]
    context.progress.publish_changes(job_ids)
    return Microbatch(lease, rows, Heartbeat(context, lease, job_ids))


def _claim(
    context: Context, queue: str, lease: UUID, is_fair_turn: bool, resident_models: Sequence[str] = ()
) -> Sequence[JobRow]:
    """The jobs of one claim. resident_models: models whose jobs come first, within the bounds of the fair order."""
    return context.database.execute(
        leases.claim(
            queue,
            lease,
            context.name,
            length=context.settings.lease,
            attempt_timeout=context.settings.attempt_timeout,
            limits=context.claim_limits,
            fair_turn=is_fair_turn,
            resident_models=resident_models,
            patience=context.settings.model_patience,
        )
    )


def generate(context: Context, microbatch: Microbatch) -> Mapping[str, Outcome | None]:
    """Generate the images of all jobs. Returns each job's outcome by its id; None if the worker stopped before it."""
    reporter = MicrobatchReporter(context, microbatch.jobs, microbatch.heartbeat)
    try:
        inputs = reject_inputs(context.moderator, microbatch.jobs, read_inputs(context, microbatch.jobs))
        model = context.catalog.model(microbatch.jobs[0].model)
        if model.is_remote:
            remote_generator = context.remote_generator(model)
            outcomes = execute_remotely(
                context, microbatch.jobs, inputs, remote_generator, reporter, microbatch.heartbeat
            )
            return record_inputs(outcomes, inputs)
        generator = context.models.get(model)
        microbatch.heartbeat.report_progress()
        return record_inputs(execute_locally(context, microbatch.jobs, inputs, generator, reporter), inputs)
    except Stopped:
        error: GenerationError | None = AttemptTimeout() if reporter.is_too_late else None
    except DeviceFailed as failure:
        context.record_device_failure([job.id for job in microbatch.jobs], failure)
        error = failure
    except GenerationError as failure:
        error = failure
    except ModelNotFound as failure:
        error = ModelUnavailable(f"This worker's catalogue does not have the model. {failure.message}")
    except Exception as failure:  # whatever it was, it is the error of these jobs; the worker goes on
        log.exception("a micro-batch failed before its images were generated")
        error = GeneratorFailed(f"The worker failed: {type(failure).__name__}: {failure}")
    return {job.id: None if error is None else Outcome(error=error) for job in microbatch.jobs}


def record_inputs(outcomes: Mapping[str, Outcome], inputs: JobInputs) -> Mapping[str, Outcome]:
    """Add the checksums of a job's input images to the receipt of its images."""
    for job_id, outcome in outcomes.items():
        job_inputs = inputs[job_id]
        if isinstance(job_inputs, Inputs) and job_inputs.sha256:
            outcome.receipt["input_sha256"] = dict(job_inputs.sha256)
    return outcomes


def store_and_complete(context: Context, microbatch: Microbatch, outcomes: Mapping[str, Outcome | None]) -> None:
    """Store the images of each job and record how its attempt ended, unless the job is cancelled or no longer ours."""
    results = Results(context, microbatch.lease, microbatch.heartbeat, partial(failure_statement, context, microbatch))
    uploads = Uploads(context, microbatch.heartbeat, results.record)
    for job in microbatch.jobs:
        if microbatch.heartbeat.is_active(job.id):
            microbatch.heartbeat.report_progress()
            with logs.add_ids(**job.log_ids), traces.storage_span(job):
                results.add(job, result_of(context, microbatch, uploads, job, outcomes[job.id]))
    results.record()


def result_of(
    context: Context, microbatch: Microbatch, uploads: Uploads, job: JobRow, outcome: Outcome | None
) -> Result:
    """How an attempt ends: its images once they are stored, or a transition that ends it without them."""
    if outcome is None:
        return jobs.requeue(job.id, microbatch.lease, "worker_draining")
    if outcome.pause is not None:
        return jobs.postpone(job.id, microbatch.lease, outcome.pause.reason, outcome.pause.delay)
    if outcome.error is not None:
        return failure_statement(context, microbatch, job, outcome.error)
    try:
        images = uploads.store(job, outcome)
    except (ContentPolicyViolation, PostprocessFailed) as error:
        return failure_statement(context, microbatch, job, error)
    except (ModerationUnavailable, StorageUnavailable) as error:
        if outcome.is_saved:  # the images are in the database; only storing them is repeated, as often as it takes
            return jobs.postpone(job.id, microbatch.lease, StorageFailed.code, context.settings.retry_delay)
        if isinstance(error, ModerationUnavailable):
            return failure_statement(context, microbatch, job, error)
        failure = StorageFailed(f"The image could not be stored: {error.message}")
        return failure_statement(context, microbatch, job, failure)
    except Exception as error:  # whatever it was, it is the error of this job; the others of the micro-batch go on
        log.exception("job %s could not be stored", job.id)
        return failure_statement(context, microbatch, job, StorageFailed(f"{type(error).__name__}: {error}"))
    metrics.IMAGES.labels(job.model).inc(len(images))
    return Completion(job.id, images, outcome.warnings)


def failure_statement(
    context: Context, microbatch: Microbatch, job: JobRow, error: GenerationError
) -> Statement[JobRow]:
    """Requeue the job if another attempt may succeed, otherwise fail it."""
    log.warning("job %s attempt %d: %s: %s", job.id, job.attempts, error.code, error.detail)
    if isinstance(error, DeviceFailed):
        is_alone = len(microbatch.jobs) == 1
        delay = context.settings.retry_delay
        return give_back(job.id, microbatch.lease, context.health.device_id, is_alone=is_alone, delay=delay)
    is_retry_permitted = isinstance(error, ProviderMayHaveBilled) and context.settings.openai_retry_unknown
    if error.retryable or is_retry_permitted:
        delay = context.settings.retry_delay
        return jobs.requeue(job.id, microbatch.lease, error.code, error=error, delay=delay)
    return jobs.fail(job.id, microbatch.lease, error, verdict_of(error, context.catalog.model(job.model)))
