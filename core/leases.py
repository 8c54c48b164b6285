"""Leases: `claim`, `start` and `renew` decide which worker may write to a running job.

A claim takes up to a micro-batch of compatible jobs under one new token with an end time. `renew` moves the end time
while it has not passed and the token is the current one. All other writes of a worker need only the token
(`core.jobs`): after the end time the sweep may reclaim the jobs, but until it does, the holder may still record its
results.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core.clock import NOW
from core.db import Statement, without_flush
from core.events import with_event
from core.pauses import is_claimable
from core.rows.job import JobRow, LeasedJob
from core.running_limits import NEAR_JOBS, RunningJobs
from core.status import JobStatus
from core.tables import JOB_COLUMNS, equals_in_order, in_status, jobs

_BY_PRECEDENCE = (jobs.c.precedence, jobs.c.fair_rank, jobs.c.id)


def claim(
    queue: str,
    lease: UUID,
    worker: str,
    *,
    length: timedelta,
    attempt_timeout: timedelta,
    limits: Mapping[str, int] | None = None,
    fair_turn: bool = False,
    resident_models: Sequence[str] = (),
    patience: float = 0.0,
    within_limits: bool = False,
    running_limit: int | None = None,
) -> Statement[JobRow]:
    """Claim the job at the head of the queue, and as many compatible jobs as fit on the device with it.

    The head is the first by precedence, then fair rank, or by fair rank alone on a fair turn (`core.fairness`). Its
    companions share its micro-batch key. Together they have at most `microbatch_size` images (fewer where `limits` has
    a smaller number for the key), unless the head alone has more. A job that has crashed a worker runs alone. `lease`
    must be fresh: it becomes the token of every claimed job. Nothing is claimed if an operator has paused the queue or
    the worker (`core.pauses`).

    resident_models: models that need not be loaded first. Their jobs may overtake those of other models, but none
    whose fair rank is smaller by more than `patience` device-seconds. It may then find nothing although jobs wait, if
    other workers claim at the same moment; a claim without it finds them.

    within_limits: whether jobs of projects and keys that have their maximum in progress are passed over. Execute
    `running_limits.lock` before, in the same transaction. running_limit: that of projects without one of their own.

    attempt_timeout: after it the worker ends the attempt. It has `length` more to record that; then the lease ends.

    The CTEs are MATERIALIZED because the planner may otherwise run a sub-select with LIMIT and SKIP LOCKED again and
    claim more than the limit (`docs/decisions/0003-claims-are-micro-batches.md`).
    """
    values: dict[str, object] = {
        "queue": queue,
        "lease": lease,
        "worker": worker,
        "length": length,
        "attempt_timeout": attempt_timeout,
        "limits": dict(limits or {}),
    }
    loaded_first = bool(resident_models) and not fair_turn
    if loaded_first:
        values |= {"loaded": list(resident_models), "patience": patience}
    if within_limits:
        values["default_limit"] = running_limit
    return Statement(_STATEMENTS[fair_turn, loaded_first, within_limits], JobRow, values)


def renew(lease: UUID, length: timedelta) -> Statement[LeasedJob]:
    """Extend the lease of the jobs under a token by `length`, but not beyond the attempt's deadline.

    Returns a row for each job whose lease is still valid. A job without a row is final, or its lease has expired. An
    expired lease is not renewed, even if no other worker has claimed the job.
    """
    of_lease = (
        sa.select(jobs.c.id)
        .where(jobs.c.lease == lease, in_status(JobStatus.IN_PROGRESS), jobs.c.lease_expires_at > NOW)
        .order_by(jobs.c.id)  # as `lock`: the same worker may record results at the same time
        .with_for_update()
        .cte("of_lease")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return Statement(
        (
            sa.update(jobs)
            .where(jobs.c.id == of_lease.c.id)
            .values(lease_expires_at=sa.func.least(NOW + length, jobs.c.attempt_deadline))
            .returning(jobs.c.id, jobs.c.cancel_requested_at)
        ),
        LeasedJob,
    )


def lock(lease: UUID) -> Statement[str]:
    """Lock the jobs under a token, until the transaction ends that then records results of several of them."""
    is_leased = jobs.c.lease == lease, in_status(JobStatus.IN_PROGRESS)
    return Statement(sa.select(jobs.c.id).where(*is_leased).order_by(jobs.c.id).with_for_update(), str)


def get_cancel_requests(lease: UUID) -> Statement[LeasedJob]:
    """The jobs under a token and their requests to cancel. Reads only; cheap enough to run every second."""
    return Statement(
        sa.select(jobs.c.id, jobs.c.cancel_requested_at).where(jobs.c.lease == lease, in_status(JobStatus.IN_PROGRESS)),
        LeasedJob,
    )


def is_waiting() -> sa.ColumnElement[bool]:
    """Whether a job may be claimed now, by a worker that has not reserved it (`core.reservations`)."""
    is_free = sa.or_(jobs.c.reserved_until.is_(None), jobs.c.reserved_until <= NOW)
    return sa.and_(in_status(JobStatus.QUEUED), jobs.c.not_before <= NOW, jobs.c.expires_at > NOW, is_free)


def selection(
    *,
    fair_turn: bool = False,
    loaded_first: bool = False,
    reserve: bool = False,
    running_jobs: RunningJobs | None = None,
) -> sa.CTE:
    """The ids of the jobs that a claim takes, with bind parameters.

    reserve: none if the first has crashed a worker. running_jobs: those that count for limits; None: there are none.
    """
    queue, worker = (sa.bindparam(name, type_=sa.Text) for name in ("queue", "worker"))
    waits = sa.and_(jobs.c.queue == queue, is_waiting())
    head = _head(waits, queue, worker, running_jobs, fair_turn=fair_turn, loaded_first=loaded_first)
    companions = _companions(waits, head, running_jobs)
    in_order = (companions.c.precedence, companions.c.fair_rank, companions.c.id)
    with_totals = sa.select(
        companions.c.id, (_of_head(head, "n") + sa.func.sum(companions.c.n).over(order_by=in_order)).label("images")
    ).subquery("with_totals")
    is_permitted = head.c.crashes == 0 if reserve else sa.true()
    return sa.union_all(
        sa.select(head.c.id).where(is_permitted),
        sa.select(with_totals.c.id).where(with_totals.c.images <= _of_head(head, "max_images")),
    ).cte("fit")


def start(update: sa.Update) -> sa.Select[Any]:
    """Jobs that a worker starts now, as the rows of an update. Binds `lease`, `worker`, `length`, `attempt_timeout`.

    The commit does not wait for the disk: a crash of Postgres may undo the start (decision 28).
    """
    length = sa.bindparam("length", type_=sa.Interval)
    updated = (
        update.values(
            status=JobStatus.IN_PROGRESS,
            attempts=jobs.c.attempts + 1,
            version=jobs.c.version + 1,
            lease=sa.bindparam("lease", type_=sa.Uuid),
            lease_expires_at=NOW + length,
            # A lease longer than an attempt may take: its worker notices the timeout late, and has yet to record it.
            attempt_deadline=NOW + sa.bindparam("attempt_timeout", type_=sa.Interval) + length,
            started_at=NOW,
            worker=sa.bindparam("worker", type_=sa.Text),
            reserved_by=None,
            reserved_until=None,
        )
        .returning(*JOB_COLUMNS)
        .cte("updated")
    )
    events = with_event(updated, "job.started", worker=updated.c.worker)
    return without_flush(events).order_by(updated.c.precedence, updated.c.fair_rank, updated.c.id)


def _claim(*, fair_turn: bool, loaded_first: bool, within_limits: bool) -> sa.Select[Any]:
    """The statement of `claim`, with bind parameters."""
    running_jobs = RunningJobs.of_statement() if within_limits else None
    fit = selection(fair_turn=fair_turn, loaded_first=loaded_first, running_jobs=running_jobs)
    statement = start(sa.update(jobs).where(jobs.c.id == fit.c.id))
    return statement if running_jobs is None else statement.add_cte(*running_jobs.changes())


def _head(
    waits: sa.ColumnElement[bool],
    queue: sa.ColumnElement[str],
    worker: sa.ColumnElement[str],
    running_jobs: RunningJobs | None,
    *,
    fair_turn: bool,
    loaded_first: bool,
) -> sa.CTE:
    """The first job that the worker may claim, locked. waits: whether a job waits in this queue."""
    source: sa.FromClause = jobs
    near: sa.FromClause = jobs
    if running_jobs is not None:
        near = running_jobs.claimable_jobs(waits, _BY_PRECEDENCE[1:] if fair_turn else _BY_PRECEDENCE, queue)
        source = jobs.join(near, near.c.id == jobs.c.id)
    order: list[sa.ColumnElement[Any]] = [near.c.fair_rank, near.c.id]
    if not fair_turn:
        order.insert(0, near.c.precedence)
    conditions = [waits, is_claimable(queue, worker)]
    if loaded_first:
        order.insert(0, (jobs.c.model == sa.any_(sa.bindparam("loaded", type_=ARRAY(sa.Text)))).desc())
        conditions.append(_is_near(_near_jobs(waits) if running_jobs is None else near))

    microbatch_limit = sa.cast(
        sa.cast(sa.bindparam("limits", type_=JSONB), JSONB)[jobs.c.microbatch_key].astext, sa.Integer
    )
    return (
        sa.select(
            jobs.c.id,
            jobs.c.microbatch_key,
            jobs.c.crashes,
            jobs.c.n,
            jobs.c.project_id,
            jobs.c.api_key_id,
            sa.func.coalesce(microbatch_limit, jobs.c.microbatch_size).label("max_images"),
        )
        .select_from(source)
        .where(*conditions)
        .order_by(*order)
        .limit(1)
        .with_for_update(skip_locked=True, of=jobs)
        .cte("head")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def _of_head(head: sa.CTE, name: str) -> sa.ScalarSelect[Any]:
    """A value of the head."""
    return sa.select(head.c[name]).scalar_subquery()


def _companions(waits: sa.ColumnElement[bool], head: sa.CTE, running_jobs: RunningJobs | None) -> sa.CTE:
    """The jobs that may share a micro-batch with the head, locked: as many as fit if each has one image."""
    # A separate query: another job with the same key may come before the head, on a fair turn, or when it was locked
    # and is not locked any more.
    conditions = [
        waits,
        equals_in_order(jobs.c.microbatch_key, _of_head(head, "microbatch_key")),
        jobs.c.id != _of_head(head, "id"),
        jobs.c.crashes == 0,
        _of_head(head, "crashes") == 0,
    ]
    order: Sequence[sa.ColumnElement[Any]] = (jobs.c.microbatch_key, *_BY_PRECEDENCE)
    source: sa.FromClause = jobs
    if running_jobs is not None:
        candidates = running_jobs.companions(conditions, order, head)
        source = jobs.join(candidates, candidates.c.id == jobs.c.id)
        order = (candidates.c.precedence, candidates.c.fair_rank, candidates.c.id)
    return (
        sa.select(jobs.c.id, jobs.c.n, jobs.c.precedence, jobs.c.fair_rank)
        .select_from(source)
        .where(*conditions)
        .order_by(*order)
        .limit(sa.func.greatest(_of_head(head, "max_images") - _of_head(head, "n"), 0))
        .with_for_update(skip_locked=True, of=jobs)
        .cte("companions")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def _near_jobs(waits: sa.ColumnElement[bool]) -> sa.CTE:
    """The jobs at the head of the queue."""
    return (
        sa.select(jobs.c.id, jobs.c.precedence, jobs.c.fair_rank)
        .where(waits)
        .order_by(jobs.c.precedence, jobs.c.fair_rank, jobs.c.id)
        .limit(NEAR_JOBS)
        .cte("near")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def _is_near(near: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a job is so near the head of the queue that it may be claimed in the head's place."""
    by_rank = sa.select(near.c.precedence, near.c.fair_rank).order_by(near.c.precedence, near.c.fair_rank)
    first = by_rank.limit(1).subquery("first")
    patience = sa.bindparam("patience", type_=sa.Double)
    return jobs.c.id.in_(
        sa.select(near.c.id).where(
            near.c.precedence == first.c.precedence, near.c.fair_rank <= first.c.fair_rank + patience
        )
    )


# Built once, because the device is idle while they run.
_STATEMENTS = {
    (fair_turn, loaded_first, within_limits): _claim(
        fair_turn=fair_turn, loaded_first=loaded_first, within_limits=within_limits
    )
    for fair_turn, loaded_first in ((False, False), (True, False), (False, True))
    for within_limits in (False, True)
}
