"""Claims of a worker: the jobs of its next micro-batch, under one lease.

Shortly before the running pass ends, the next micro-batch is reserved, and its prompts are checked (`reserve`). When
the device is free, it draws at once, and the heartbeat begins the jobs meanwhile (`begin`). If nothing was reserved,
`claim` claims jobs while the device waits. Input images are read only when the jobs have begun.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID, uuid4

from core import leases, reservations, running_limits
from core.db import DATABASE_ERROR
from core.errors import first_line
from core.rows.job import JobRow
from core.telemetry.job_metrics import record_starts
from worker.generation.context import Context
from worker.generation.heartbeat import Heartbeat
from worker.generation.inputs import read_inputs
from worker.generation.moderation import JobInputs, reject_inputs

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Microbatch:
    """Jobs that were claimed together, under one lease."""

    lease: UUID
    jobs: Sequence[JobRow]
    heartbeat: Heartbeat
    inputs: JobInputs | None = None
    """None: they have yet to be read."""

    @property
    def has_crashed_before(self) -> bool:
        """Whether an earlier attempt ended with the death of its worker."""
        return bool(self.jobs[0].crashes)


@dataclass(frozen=True, slots=True)
class Reservation:
    """The jobs of the next micro-batch, which are still queued."""

    token: UUID
    jobs: Sequence[JobRow]
    inputs: JobInputs | None

    @property
    def job_ids(self) -> list[str]:
        """The ids of its jobs."""
        return [job.id for job in self.jobs]


def claim(context: Context, queue: str, *, is_fair_turn: bool, must_notify: bool) -> Microbatch | None:
    """Claim the first job of a queue, with others that fit in one micro-batch with it.

    is_fair_turn: whether the first job is the one with the lowest fair rank (`Context.count_claim`).
    must_notify: whether another thread or worker is to look into the queue, as it may hold more.
    Returns None if the queue is empty or paused, or if the worker is stopping.
    """
    if context.drain.has_begun or context.is_paused(queue):
        return None
    lease = uuid4()
    resident_models = () if is_fair_turn else context.resident_models(queue)
    rows = _claim(context, queue, lease, is_fair_turn, resident_models)
    if resident_models and not rows:  # other workers may have claimed the same jobs at this moment
        rows = _claim(context, queue, lease, is_fair_turn)
    if not rows:
        return None
    job_ids = [row.id for row in rows]
    start = partial(_report_start, context, queue, rows, must_notify)
    return Microbatch(lease, rows, Heartbeat(context, lease, job_ids, start))


def reserve(context: Context, queue: str, *, is_fair_turn: bool) -> Reservation | None:
    """Reserve what `claim` would claim, and check its prompts. For the thread that will have the device next.

    Nothing is reserved while running jobs are limited: a reserved job does not count for a limit.
    """
    if context.drain.has_begun or context.is_paused(queue):
        return None
    token = uuid4()
    statement = reservations.reserve(
        queue,
        token,
        context.name,
        length=context.settings.heartbeat,
        limits=context.claim_limits,
        fair_turn=is_fair_turn,
        resident_models=() if is_fair_turn else context.resident_models(queue),
        patience=context.settings.model_patience,
    )
    try:
        if context.running_limits.is_any_set():
            return None
        rows = context.database.execute(statement)
    except DATABASE_ERROR as error:
        log.warning("the next micro-batch is not reserved: %s", first_line(error))
        return None
    return Reservation(token, rows, _prepare_inputs(context, rows)) if rows else None


def begin(context: Context, queue: str, reservation: Reservation, *, must_notify: bool) -> Microbatch | None:
    """A reserved micro-batch, whose heartbeat begins its jobs. None, and no reservation, if the worker is stopping.

    must_notify: as for `claim`.
    """
    if context.drain.has_begun or context.is_paused(queue):
        release(context, reservation)
        return None
    jobs = [replace(job, attempts=job.attempts + 1, started_at=None) for job in reservation.jobs]
    start = partial(_begin, context, queue, reservation, must_notify)
    heartbeat = Heartbeat(context, reservation.token, reservation.job_ids, start)
    return Microbatch(reservation.token, jobs, heartbeat, reservation.inputs)


def release(context: Context, reservation: Reservation) -> None:
    """Let other workers claim reserved jobs at once; otherwise they can when the reservation ends."""
    try:
        context.database.execute(reservations.release(reservation.job_ids, reservation.token))
    except DATABASE_ERROR as error:
        log.warning("%d jobs stay reserved for some seconds: %s", len(reservation.jobs), first_line(error))


def _claim(
    context: Context, queue: str, lease: UUID, is_fair_turn: bool, resident_models: Sequence[str] = ()
) -> Sequence[JobRow]:
    """The jobs of one claim. resident_models: models whose jobs come first, within the bounds of the fair order."""
    is_limited = context.running_limits.is_any_set()
    statement = leases.claim(
        queue,
        lease,
        context.name,
        length=context.settings.lease,
        attempt_timeout=context.settings.attempt_timeout,
        limits=context.claim_limits,
        fair_turn=is_fair_turn,
        resident_models=resident_models,
        patience=context.settings.model_patience,
        within_limits=is_limited,
        running_limit=context.running_limits.default,
    )
    if not is_limited:
        return context.database.execute(statement)
    with context.database.transaction() as transaction:
        transaction.execute(running_limits.lock())
        return transaction.execute(statement)


def _begin(context: Context, queue: str, reservation: Reservation, must_notify: bool) -> Sequence[str]:
    """Begin reserved jobs. Returns the ids of those that are ours, also if an earlier try has begun them."""
    rows = context.database.execute(
        reservations.begin(
            reservation.job_ids,
            reservation.token,
            queue,
            context.name,
            length=context.settings.lease,
            attempt_timeout=context.settings.attempt_timeout,
        )
    )
    job_ids = _report_start(context, queue, rows, must_notify)
    if len(job_ids) == len(reservation.jobs):
        return job_ids
    # Some are cancelled or another worker's, or the reply to an earlier try was lost.
    return [job.id for job in context.database.execute(leases.get_cancel_requests(reservation.token))]


def _report_start(context: Context, queue: str, rows: Sequence[JobRow], must_notify: bool) -> Sequence[str]:
    """Tell clients and other workers that jobs have started. Returns their ids. Raises nothing: the jobs are ours."""
    job_ids = [row.id for row in rows]
    try:
        record_starts(rows)
        context.progress.publish_changes(job_ids)
        if must_notify:
            context.notifier.notify(queue)
    except Exception:  # whatever it was, clients and workers also learn from the database
        log.exception("the start of %d jobs is not reported", len(job_ids))
    return job_ids


def _prepare_inputs(context: Context, jobs: Sequence[JobRow]) -> JobInputs | None:
    """The inputs of jobs without images; None if there are images, or if something went wrong.

    An image, or an operator's function, that ends the process would be charged to the jobs on the device. An error
    happens again in the attempt.
    """
    if any(job.inputs for job in jobs) or context.moderator.runs_operator_code:
        return None
    try:
        return reject_inputs(context.moderator, jobs, read_inputs(context, jobs))
    except Exception:  # whatever it was, it is the error of the attempt and not of this thread
        log.warning("the prompts of the next micro-batch are not checked ahead", exc_info=True)
        return None
