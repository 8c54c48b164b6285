"""What an operator sees of queues and workers. Each statement reads an index, and no more rows than a maximum."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.status import JobStatus
from core.tables import in_status, jobs, workers

MAX_DEPTH = 100_000
"""Jobs of a queue that are counted, at most."""

RATE_WINDOW = timedelta(minutes=5)
"""The time over which the rate of jobs that end is measured."""

MAX_ENDED = 10_000
"""Jobs that ended last, of all queues, that are counted for the rates."""


@dataclass(slots=True)
class QueueReport:
    """A queue that has jobs. depth: jobs that wait, up to MAX_DEPTH. ended_jobs: those of RATE_WINDOW."""

    queue: str
    depth: int
    oldest_at: datetime | None
    in_progress: int
    ended_jobs: int
    now: datetime


@dataclass(slots=True)
class WorkerReport:
    """A worker that runs, and the micro-batch that it has in hand."""

    name: str
    queues: Sequence[str]
    is_ready: bool
    expires_at: datetime
    job_ids: Sequence[str]
    models: Sequence[str]
    lease_expires_at: datetime | None
    started_at: datetime | None
    now: datetime


def list_queues() -> Statement[QueueReport]:
    """The queues that have a job that waits or runs. One index lookup finds each, however long they are."""
    names = _queue_names()
    waiting_job = jobs.alias("waiting_job")
    line = (
        sa.select(waiting_job.c.id)
        .where(waiting_job.c.queue == names.c.queue, in_status(JobStatus.QUEUED, of=waiting_job))
        .correlate(names)
        .limit(MAX_DEPTH)
        .subquery("line")
    )
    depth = sa.select(sa.func.count().label("depth"), sa.func.min(line.c.id).label("oldest_id")).lateral("depth")
    oldest = jobs.alias("oldest")
    oldest_at = sa.select(oldest.c.created_at).where(oldest.c.id == depth.c.oldest_id).scalar_subquery()
    running = jobs.alias("running")
    in_progress = (
        sa.select(sa.func.count())
        .where(running.c.queue == names.c.queue, in_status(JobStatus.IN_PROGRESS, of=running))
        .correlate(names)
        .scalar_subquery()
    )
    last = (
        sa.select(jobs.c.queue)
        .where(jobs.c.finished_at > STATEMENT_TIME - sa.literal(RATE_WINDOW, sa.Interval))
        .order_by(jobs.c.finished_at.desc())
        .limit(MAX_ENDED)
        .cte("last")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    ended_jobs = sa.select(sa.func.count()).where(last.c.queue == names.c.queue).correlate(names).scalar_subquery()
    statement = sa.select(
        names.c.queue,
        depth.c.depth,
        oldest_at.label("oldest_at"),
        in_progress.label("in_progress"),
        ended_jobs.label("ended_jobs"),
        NOW.label("now"),
    ).select_from(names.join(depth, sa.true()))
    return Statement(statement.where(names.c.queue.is_not(None)).order_by(names.c.queue), QueueReport)


def _queue_names() -> sa.Subquery:
    """The queues that have jobs: the first of the index, then the first behind it, and so on."""
    branches = []
    for number, status in enumerate((JobStatus.QUEUED, JobStatus.IN_PROGRESS)):
        first = sa.select(sa.func.min(jobs.c.queue).label("queue")).where(in_status(status))
        names = first.cte(f"names_{number}", recursive=True)
        following: Any = (
            sa.select(sa.func.min(jobs.c.queue))
            .where(in_status(status), jobs.c.queue > names.c.queue)
            .correlate(names)
            .scalar_subquery()
        )
        names = names.union_all(sa.select(following).where(names.c.queue.is_not(None)))
        branches.append(sa.select(names.c.queue))
    return sa.union(*branches).subquery("names")


def list_workers() -> Statement[WorkerReport]:
    """The workers that run, at most 1000, with the jobs that each has in hand."""
    job = (
        sa.select(
            jobs.c.worker,
            sa.func.array_agg(jobs.c.id).label("job_ids"),
            sa.func.array_agg(sa.distinct(jobs.c.model)).label("models"),
            sa.func.min(jobs.c.lease_expires_at).label("lease_expires_at"),
            sa.func.min(jobs.c.started_at).label("started_at"),
        )
        .where(in_status(JobStatus.IN_PROGRESS))
        .group_by(jobs.c.worker)
        .subquery("job")
    )
    empty: sa.ColumnElement[Any] = sa.literal_column("'{}'::text[]")
    return Statement(
        sa.select(
            workers.c.name,
            workers.c.queues,
            workers.c.is_ready,
            workers.c.expires_at,
            sa.func.coalesce(job.c.job_ids, empty).label("job_ids"),
            sa.func.coalesce(job.c.models, empty).label("models"),
            job.c.lease_expires_at,
            job.c.started_at,
            NOW.label("now"),
        )
        .select_from(workers.outerjoin(job, job.c.worker == workers.c.name))
        .where(workers.c.expires_at > NOW)
        .order_by(workers.c.name)
        .limit(1000),
        WorkerReport,
    )
