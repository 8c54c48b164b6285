"""Runs a job at a paid provider: one call, never repeated while its outcome is unknown.

A row in `provider_calls` is committed before the request is sent, and closed with its outcome. A paid call cannot be
fenced: the worker that claims the job after a crash finds the open row. Jobs that have to wait, because the provider
says so or its last calls failed, are requeued without losing an attempt.
"""

import io
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from PIL import Image

from core import paid_images, provider_calls
from core.db import DATABASE_ERROR, UNAVAILABLE, Statement
from core.errors import first_line
from core.generation import ImageRequest, RemoteGenerator, Reply
from core.generation_errors import (
    GenerationError,
    ProviderAnswerLost,
    ProviderMayHaveBilled,
    ProviderOutcomeUnknown,
    ProviderRateLimited,
)
from core.ids import new_id
from core.job_warnings import JobWarning
from core.provider_calls import Breaker, Pause
from core.rows.job import JobRow
from core.status import CallOutcome
from core.telemetry import logs, metrics
from worker.generation import traces
from worker.generation.context import Context
from worker.generation.heartbeat import Heartbeat
from worker.generation.inputs import Inputs
from worker.generation.local import Outcome, image_requests
from worker.generation.progress import MicrobatchReporter

log = logging.getLogger(__name__)

CANCELLED = Pause("cancel_requested", timedelta(0))
"""Of a job that was cancelled before its request was sent: `requeue` then cancels it, as its cancel was requested."""

LEASE_LOST = Pause("lease_lost", timedelta(0))
"""Of a job that another worker has by now: `requeue` then changes no row."""


def execute_remotely(
    context: Context,
    claimed_jobs: Sequence[JobRow],
    inputs: Mapping[str, Inputs | GenerationError],
    generator: RemoteGenerator,
    reporter: MicrobatchReporter,
    heartbeat: Heartbeat,
) -> Mapping[str, Outcome]:
    """The outcome of each job, each of which is a call of its own."""
    outcomes = {}
    for job in claimed_jobs:
        job_inputs = inputs[job.id]
        if (saved_outcome := _read_saved_images(context, job, heartbeat)) is not None:
            outcomes[job.id] = saved_outcome
            continue
        if isinstance(job_inputs, GenerationError):
            outcomes[job.id] = Outcome(error=job_inputs)
            continue
        try:
            requests = image_requests(job, job_inputs, context.catalog.model(job.model))
        except GenerationError as error:
            outcomes[job.id] = Outcome(error=error)
            continue
        with logs.add_ids(**job.log_ids):
            outcomes[job.id] = _call_provider(context, job, requests, generator, reporter, heartbeat)
    return outcomes


def _call_provider(
    context: Context,
    job: JobRow,
    requests: Sequence[ImageRequest],
    generator: RemoteGenerator,
    reporter: MicrobatchReporter,
    heartbeat: Heartbeat,
) -> Outcome:
    """Call the provider for the images of one job, unless the preflight check finds an obstacle."""
    call_id = new_id("call")
    obstacle = _open_call(context, job, call_id, generator.fingerprint(requests), heartbeat)
    if isinstance(obstacle, GenerationError):
        return Outcome(error=obstacle)
    if obstacle is not None:
        context.pause(job.queue, obstacle.delay)
        return Outcome(pause=obstacle)
    heartbeat.report_progress(ahead=generator.timeout)
    began = datetime.now(UTC)
    try:
        reply = generator.send(requests, call_id, lambda number, image: reporter.show(job.id, number, image))
    except Exception as error:  # whatever it was, the request may have been sent
        log.exception("call %s of job %s", call_id, job.id)
        unknown = ProviderOutcomeUnknown(f"The call ended in {type(error).__name__}: {error}")
        reply = Reply(CallOutcome.UNKNOWN, error=unknown)
    heartbeat.report_progress()
    traces.record_call(job, call_id, reply, began)
    metrics.PROVIDER_CALLS.labels(job.model, reply.outcome).inc()
    metrics.PROVIDER_USD.labels(job.model).inc(float(reply.cost_usd or 0))
    _close_call(context, provider_calls.close_call(call_id, reply), job.id, heartbeat)
    if reply.wait is not None:
        context.pause(job.queue, reply.wait)
    if reply.outcome is CallOutcome.LIMITED:
        return Outcome(pause=Pause(ProviderRateLimited.code, reply.wait or timedelta(0)))
    if reply.error is not None:
        return Outcome(error=reply.error)
    return Outcome(
        images=list(reply.images),
        receipt=dict(reply.receipt),
        warnings=_missing_images(len(reply.images), len(requests)),
        is_paid=True,
    )


def _missing_images(count: int, requested_count: int) -> list[JobWarning]:
    if count >= requested_count:
        return []
    message = f"The provider returned {count} readable images of {requested_count}."
    return [JobWarning(code="images_missing", message=message, param="n")]


def _open_call(
    context: Context, job: JobRow, call_id: str, request_hash: bytes, heartbeat: Heartbeat
) -> GenerationError | Pause | None:
    """Record that the job's request is about to be sent. Returns what forbids it, or None.

    Tried again while the database is unavailable: a commit whose answer was lost is detected by the call's id.
    """
    while True:
        try:
            return _try_open_call(context, job, call_id, request_hash, heartbeat)
        except UNAVAILABLE as error:
            if not _may_wait(job, heartbeat, error):
                return LEASE_LOST


def _read_saved_images(context: Context, job: JobRow, heartbeat: Heartbeat) -> Outcome | None:
    """The images that an earlier attempt paid for and could not store; None if there are none."""
    while job.attempts > 1:
        try:
            rows = context.database.execute(paid_images.read(job.id))
        except UNAVAILABLE as error:
            if not _may_wait(job, heartbeat, error):
                return Outcome(pause=LEASE_LOST)
            continue
        if not rows:
            return None
        images = [Image.open(io.BytesIO(file)) for file in rows[0].images]
        for image in images:
            image.load()
        return Outcome(
            images=list(images),
            receipt=dict(rows[0].receipt),
            warnings=_missing_images(len(images), job.n),
            is_paid=True,
            is_saved=True,
        )
    return None


def _may_wait(job: JobRow, heartbeat: Heartbeat, error: Exception) -> bool:
    """Wait before another try, as the database is unavailable. Returns False if the lease is lost."""
    log.warning("job %s not sent yet: %s", job.id, first_line(error))
    if not heartbeat.is_active(job.id):
        return False
    heartbeat.report_progress()
    heartbeat.wait(0.5)
    return True


def _try_open_call(
    context: Context, job: JobRow, call_id: str, request_hash: bytes, heartbeat: Heartbeat
) -> GenerationError | Pause | None:
    settings, lease = context.settings, heartbeat.lease
    breaker = Breaker(settings.openai_breaker_failures, settings.openai_breaker_pause)
    with context.database.transaction() as transaction:
        transaction.execute(provider_calls.lock(job.queue))
        transaction.execute(provider_calls.abandon(job.id, lease))
        rows = transaction.execute(provider_calls.preflight(job.id, lease, job.queue, breaker))
        if not rows:
            return LEASE_LOST
        preflight = rows[0]
        if preflight.is_cancelled:
            return CANCELLED
        if preflight.earlier_outcome is not None and not settings.openai_retry_unknown:
            return _from_earlier_call(CallOutcome(preflight.earlier_outcome))
        if (pause := provider_calls.pause(preflight, breaker)) is not None:
            return pause
        rows_written = transaction.execute(provider_calls.open_call(call_id, job, lease, request_hash))
        return None if rows_written else CANCELLED


def _from_earlier_call(outcome: CallOutcome) -> ProviderMayHaveBilled:
    """Why a job is not sent again whose earlier call had this outcome."""
    if outcome is CallOutcome.SUCCEEDED:
        return ProviderAnswerLost()
    if outcome is CallOutcome.ABANDONED:
        return ProviderOutcomeUnknown(
            "A worker died after it had sent the request, so its outcome is unknown. It is not sent again, as that may "
            "be billed twice."
        )
    return ProviderOutcomeUnknown()


def _close_call(context: Context, statement: Statement[str], job_id: str, heartbeat: Heartbeat) -> None:
    """Record the outcome of a call; again while the database is unavailable and the job is active.

    If the database refuses it, the sweep closes the call. Its images are not lost for that.
    """
    while True:
        try:
            context.database.execute(statement)
        except UNAVAILABLE as error:
            log.warning("call of job %s not closed yet: %s", job_id, first_line(error))
            if not heartbeat.is_active(job_id):
                return
            heartbeat.report_progress()
            heartbeat.wait(0.5)
        except DATABASE_ERROR:
            log.exception("the outcome of a call of job %s could not be recorded", job_id)
            return
        else:
            return
