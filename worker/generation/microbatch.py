"""The steps of one micro-batch: claim it, generate its images, store them, complete its jobs.

A task of the worker calls `run_queue`. While one thread has the device, another stores the images of the micro-batch
before and reserves the next. Every write names the lease. So a worker that was frozen, was cut off or is presumed dead
changes nothing when it continues.
"""

import logging
import time
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

from core import jobs
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
from core.jobs import Completion
from core.rows.job import JobRow
from core.telemetry import logs, metrics
from worker.generation import traces
from worker.generation.claims import Microbatch, begin, claim, reserve
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

RUN_SECONDS = 0.5
"""After this time a thread takes a queue of which it has been notified, which may be the same one."""


def run_queue(context: Context, queue: str) -> None:
    """Run the micro-batches of a queue until it is empty, for RUN_SECONDS at most, as there may be other queues.

    Notifies once, when there is work: another thread or worker may help.
    """
    ends_at = time.monotonic() + RUN_SECONDS
    must_notify = True
    while run(context, queue, must_notify=must_notify):
        must_notify = False
        if time.monotonic() >= ends_at:
            context.notifier.notify(queue)
            return


def run(context: Context, queue: str, *, must_notify: bool = True) -> bool:
    """Run one micro-batch of a queue from claim to completion. Returns whether there was one.

    must_notify: whether others are to know that the queue may hold more.
    """
    if context.catalog.is_remote(queue):  # needs no device, and its calls must not be made before they are ours
        microbatch = claim(context, queue, is_fair_turn=context.count_claim(queue), must_notify=must_notify)
        if microbatch is None:
            return False
        with microbatch.heartbeat:
            outcomes = _generate(context, microbatch)
            store_and_complete(context, microbatch, outcomes)
    elif not _run_on_device(context, queue, must_notify):
        return False
    context.check_memory()
    if context.running_limits.is_any_set():  # jobs that waited for the end of these may start now, in any queue
        for name in {model.queue for model in context.catalog.models}:
            context.notifier.notify(name)
    return True


def _run_on_device(context: Context, queue: str, must_notify: bool) -> bool:
    with ExitStack() as stack:
        with ExitStack() as device:
            if must_notify and context.device.locked():  # another worker may be idle; this one will not be for a while
                context.notifier.notify(queue)
                must_notify = False
            with context.preparation:
                must_reserve = context.pass_clock.wait() and not context.pass_clock.is_brief
                # Counted once: a job that has crashed a worker is not reserved, and the claim takes it in this turn.
                is_fair_turn = context.count_claim(queue)
                reservation = reserve(context, queue, is_fair_turn=is_fair_turn) if must_reserve else None
                device.enter_context(context.pass_clock.hold_device())
            microbatch = None if reservation is None else begin(context, queue, reservation, must_notify=must_notify)
            microbatch = microbatch or claim(context, queue, is_fair_turn=is_fair_turn, must_notify=must_notify)
            if microbatch is None:
                return False
            stack.enter_context(microbatch.heartbeat)
            if microbatch.has_crashed_before:
                # It may crash again: nothing is reserved meanwhile, and first the images of other jobs are uploaded.
                context.pass_clock.disable()
                stack.enter_context(context.upload_lock)
                store_and_complete(context, microbatch, _generate(context, microbatch))
                return True
            outcomes = _generate(context, microbatch)
        with context.upload_lock:
            began = time.monotonic()
            store_and_complete(context, microbatch, outcomes)
            if all(outcome is not None and outcome.error is None for outcome in outcomes.values()):
                context.claim_sizes.record("store", microbatch.jobs, time.monotonic() - began)
    return True


def _generate(context: Context, microbatch: Microbatch) -> Mapping[str, Outcome | None]:
    """`generate`, and record the time that it takes."""
    began = datetime.now(UTC)
    traces.record_waits(microbatch.jobs, began)
    outcomes = generate(context, microbatch)
    traces.record_generation(microbatch.jobs, began)
    return outcomes


def generate(context: Context, microbatch: Microbatch) -> Mapping[str, Outcome | None]:
    """Generate the images of all jobs. Returns each job's outcome by its id; None if the worker stopped before it."""
    reporter = MicrobatchReporter(context, microbatch.jobs, microbatch.heartbeat)
    try:
        inputs = microbatch.inputs
        if inputs is None:
            wait_for_jobs(microbatch.heartbeat)  # a file that ends the process counts as a crash of its job
            inputs = reject_inputs(context.moderator, microbatch.jobs, read_inputs(context, microbatch.jobs))
        model = context.catalog.model(microbatch.jobs[0].model)
        if model.is_remote:
            remote_generator = context.remote_generator(model)
            outcomes = execute_remotely(
                context, microbatch.jobs, inputs, remote_generator, reporter, microbatch.heartbeat
            )
            return record_inputs(outcomes, inputs)
        if not context.models.is_loaded(model) or any(job.parameters.loras for job in microbatch.jobs):
            wait_for_jobs(microbatch.heartbeat)  # loading may end the process, or unload another model for nothing
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


def wait_for_jobs(heartbeat: Heartbeat) -> None:
    """Wait until it is known which of the jobs are ours. Raises Stopped if none is."""
    heartbeat.wait_for_start()
    if not heartbeat.has_active_jobs:
        raise Stopped


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
    microbatch.heartbeat.wait_for_start()
    try:
        for job in microbatch.jobs:
            if microbatch.heartbeat.is_active(job.id):
                microbatch.heartbeat.report_progress()
                with logs.add_ids(**job.log_ids), traces.storage_span(job):
                    results.add(job, result_of(context, microbatch, uploads, job, outcomes[job.id]))
    finally:  # the images of the jobs before an error are stored
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
    return jobs.fail(job.id, microbatch.lease, error, verdict_of(error, context.catalog, job.model))
