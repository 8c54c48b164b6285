"""Reservations: a worker reserves the jobs of its next micro-batch while its device is busy with the one before.

A reserved job is still queued: it can be cancelled, it has no lease and has not started, and no attempt is counted. It
is the worker's once `begin` has found it as it was. Other workers claim around it until the reservation ends, which
is seconds later: if the worker dies, nothing has to be taken back.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.clock import NOW
from core.db import Statement, without_flush
from core.leases import selection, start
from core.pauses import is_claimable
from core.rows.job import JobRow
from core.status import JobStatus
from core.tables import JOB_COLUMNS, in_status, jobs


def reserve(
    queue: str,
    token: UUID,
    worker: str,
    *,
    length: timedelta,
    limits: Mapping[str, int] | None = None,
    fair_turn: bool = False,
    resident_models: Sequence[str] = (),
    patience: float = 0.0,
) -> Statement[JobRow]:
    """Reserve the jobs that `leases.claim` would claim, for `length`. `token` becomes their lease when they begin.

    No row is returned if the first job has crashed a worker: it runs alone, and is claimed when nothing else runs.
    """
    values = {"queue": queue, "token": token, "worker": worker, "length": length, "limits": dict(limits or {})}
    if resident_models and not fair_turn:
        return Statement(_LOADED_FIRST, JobRow, {**values, "loaded": list(resident_models), "patience": patience})
    return Statement(_FAIR_TURN if fair_turn else _RESERVE, JobRow, values)


def begin(
    job_ids: Sequence[str], token: UUID, queue: str, worker: str, *, length: timedelta, attempt_timeout: timedelta
) -> Statement[JobRow]:
    """Start reserved jobs: queued -> in_progress, as `leases.claim`.

    No row is returned for a job that has been cancelled, has expired or is another worker's by now; none at all if the
    queue or the worker has been paused.
    """
    values = {
        "reserved": list(job_ids),
        "lease": token,
        "queue": queue,
        "worker": worker,
        "length": length,
        "attempt_timeout": attempt_timeout,
    }
    return Statement(_BEGIN, JobRow, values)


def release(job_ids: Sequence[str], token: UUID) -> Statement[str]:
    """End the reservation of jobs that the worker will not begin."""
    statement = (
        sa.update(jobs)
        .where(jobs.c.id.in_(list(job_ids)), jobs.c.reserved_by == token, in_status(JobStatus.QUEUED))
        .values(reserved_by=None, reserved_until=None)
        .returning(jobs.c.id)
    )
    return Statement(statement, str)


def _reserve(*, fair_turn: bool = False, loaded_first: bool = False) -> sa.Select[Any]:
    fit = selection(fair_turn=fair_turn, loaded_first=loaded_first, reserve=True)
    reserved_jobs = (
        sa.update(jobs)
        .where(jobs.c.id == fit.c.id)
        .values(
            reserved_by=sa.bindparam("token", type_=sa.Uuid),
            reserved_until=NOW + sa.bindparam("length", type_=sa.Interval),
        )
        .returning(*JOB_COLUMNS)
        .cte("reserved_jobs")
    )
    job = reserved_jobs.c
    return without_flush(sa.select(reserved_jobs)).order_by(job.precedence, job.fair_rank, job.id)


def _begin() -> sa.Select[Any]:
    reserved_jobs = (
        sa.select(jobs.c.id)
        .where(
            jobs.c.id == sa.any_(sa.bindparam("reserved", type_=ARRAY(sa.Text))),
            jobs.c.reserved_by == sa.bindparam("lease", type_=sa.Uuid),
            in_status(JobStatus.QUEUED),
            jobs.c.not_before <= NOW,
            jobs.c.expires_at > NOW,
            is_claimable(sa.bindparam("queue", type_=sa.Text), sa.bindparam("worker", type_=sa.Text)),
        )
        .order_by(jobs.c.id)
        .with_for_update()
        .cte("reserved_jobs")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return start(sa.update(jobs).where(jobs.c.id == reserved_jobs.c.id))


# Built once, as the statements of `core.leases`.
_RESERVE = _reserve()
_FAIR_TURN = _reserve(fair_turn=True)
_LOADED_FIRST = _reserve(loaded_first=True)
_BEGIN = _begin()
