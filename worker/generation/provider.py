"""A job that a provider draws for money: asked once, and never again while nobody knows what came of it.

Before the request is sent, a row in `provider_calls` says so; after the answer, what came of it. Between the two stands
all that cannot be fenced: whoever takes the job up after a crash finds the open row. Jobs that have to wait, because
the provider says so or its last calls failed, go back to the line without losing an attempt.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

from core import provider_calls
from core.db import UNAVAILABLE, Statement
from core.errors import (
    GenerationError,
    ProviderAnswerLost,
    ProviderMayHaveBilled,
    ProviderOutcomeUnknown,
    ProviderRateLimited,
    first_line,
)
from core.generation import ImageRequest, RemoteGenerator, Reply
from core.ids import new_id
from core.provider_calls import Breaker, Pause
from core.rows import JobRow
from core.status import CallOutcome
from worker.generation.context import Context
from worker.generation.heartbeat import Heartbeat
from worker.generation.inputs import Inputs
from worker.generation.local import Outcome, image_requests
from worker.generation.progress import MicrobatchReporter

log = logging.getLogger(__name__)

UNWANTED = Pause("unwanted", timedelta(0))
"""Of a job that its owner wished to stop before its request was sent: to give it back ends it."""

NOT_OURS = Pause("lease_lost", timedelta(0))
"""Of a job that somebody else has by now: to give it back moves nothing."""


def execute_remotely(
    context: Context,
    batch: Sequence[JobRow],
    inputs: Mapping[str, Inputs | GenerationError],
    generator: RemoteGenerator,
    reporter: MicrobatchReporter,
    heartbeat: Heartbeat,
) -> Mapping[str, Outcome]:
    """What came of each job, each of which is a call of its own."""
    outcomes = {}
    for job in batch:
        found = inputs[job.id]
        if isinstance(found, GenerationError):
            outcomes[job.id] = Outcome(error=found)
        else:
            outcomes[job.id] = _ask(context, job, image_requests(job, found), generator, reporter, heartbeat)
    return outcomes


def _ask(
    context: Context,
    job: JobRow,
    requests: Sequence[ImageRequest],
    generator: RemoteGenerator,
    reporter: MicrobatchReporter,
    heartbeat: Heartbeat,
) -> Outcome:
    """Ask for the images of one job, unless something speaks against it."""
    call_id = new_id("call")
    against = _open(context, job, call_id, generator.fingerprint(requests), heartbeat)
    if isinstance(against, GenerationError):
        return Outcome(error=against)
    if against is not None:
        context.pause(job.queue, against.delay)
        return Outcome(pause=against)
    heartbeat.moved(ahead=generator.timeout)
    try:
        reply = generator.send(requests, call_id, lambda number, image: reporter.show(job.id, number, image))
    except Exception as error:  # whatever it was, the request may have been sent
        log.exception("call %s of job %s", call_id, job.id)
        unknown = ProviderOutcomeUnknown(f"The call ended in {type(error).__name__}: {error}")
        reply = Reply(CallOutcome.UNKNOWN, error=unknown)
    heartbeat.moved()
    _write(context, provider_calls.close_call(call_id, reply), job.id, heartbeat)
    if reply.wait is not None:
        context.pause(job.queue, reply.wait)
    if reply.outcome is CallOutcome.LIMITED:
        return Outcome(pause=Pause(ProviderRateLimited.code, reply.wait or timedelta(0)))
    if reply.error is not None:
        return Outcome(error=reply.error)
    return Outcome(images=list(reply.images), receipt=dict(reply.receipt), is_paid=True)


def _open(
    context: Context, job: JobRow, call_id: str, request_hash: bytes, heartbeat: Heartbeat
) -> GenerationError | Pause | None:
    """Write down that the job's request is about to be sent; or what speaks against it.

    Tried again while the database is away: a commit whose answer was lost is found by the call's id.
    """
    while True:
        try:
            return _opened(context, job, call_id, request_hash, heartbeat)
        except UNAVAILABLE as error:
            log.warning("job %s not sent yet: %s", job.id, first_line(error))
            if not heartbeat.wants(job.id):
                return NOT_OURS
            heartbeat.moved()
            heartbeat.wait(0.5)


def _opened(
    context: Context, job: JobRow, call_id: str, request_hash: bytes, heartbeat: Heartbeat
) -> GenerationError | Pause | None:
    settings, lease = context.settings, heartbeat.lease
    breaker = Breaker(settings.openai_breaker_failures, settings.openai_breaker_pause)
    with context.database.transaction() as transaction:
        transaction.execute(provider_calls.lock(job.queue))
        transaction.execute(provider_calls.abandon(job.id, lease))
        rows = transaction.execute(provider_calls.standing(job.id, lease, job.queue, breaker))
        if not rows:
            return NOT_OURS
        standing = rows[0]
        if standing.unwanted:
            return UNWANTED
        if standing.earlier is not None and not settings.openai_retry_unknown:
            return _of_earlier(CallOutcome(standing.earlier))
        if (pause := provider_calls.pause(standing, breaker)) is not None:
            return pause
        opened = transaction.execute(provider_calls.open_call(call_id, job, lease, request_hash))
        return None if opened else UNWANTED


def _of_earlier(outcome: CallOutcome) -> ProviderMayHaveBilled:
    """Why a job is not sent again of which an earlier attempt ended so."""
    if outcome is CallOutcome.SUCCEEDED:
        return ProviderAnswerLost()
    if outcome is CallOutcome.ABANDONED:
        return ProviderOutcomeUnknown(
            "A worker died after it had sent the request, so nobody knows what came of it. It is not sent again, as "
            "that may be billed twice."
        )
    return ProviderOutcomeUnknown()


def _write(context: Context, statement: Statement[str], job_id: str, heartbeat: Heartbeat) -> None:
    """Write down how a call ended, and again while the database is away and the lease may still be ours."""
    while True:
        try:
            context.database.execute(statement)
        except UNAVAILABLE as error:
            log.warning("call of job %s not closed yet: %s", job_id, first_line(error))
            if not heartbeat.wants(job_id):
                return
            heartbeat.moved()
            heartbeat.wait(0.5)
        else:
            return
