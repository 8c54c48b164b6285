"""What an operator sees of jobs that failed, crashed or took long. Each statement reads some rows of an index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.db import Statement
from core.status import JobStatus
from core.tables import in_status, job_events, jobs

MAX_FAILURES = 100_000
"""Failed jobs that are counted, the newest, at most."""

MAX_ENDED = 10_000
"""Jobs that ended last, among which the slowest are sought."""

Duration = Literal["wait", "run", "total"]
"""What makes a job slow: its time in the queue until the last claim, the last attempt, or both and all before."""


@dataclass(slots=True)
class FailureCount:
    """How many jobs of a model failed with a code, within a bucket of time."""

    started_at: datetime
    code: str
    model: str
    jobs: int


@dataclass(slots=True)
class SlowJob:
    """A job that ended, and its durations in seconds. None: it never started."""

    id: str
    project_id: str
    batch_id: str | None
    model: str
    status: str
    attempts: int
    finished_at: datetime
    wait_seconds: float | None
    run_seconds: float | None
    total_seconds: float


@dataclass(slots=True)
class CrashedJob:
    """A job whose lease ran out. workers: all that claimed it; crashed_at: when the sweep took it back last."""

    id: str
    project_id: str
    batch_id: str | None
    model: str
    status: str
    crashes: int
    attempts: int
    error_code: str | None
    created_at: datetime
    workers: Sequence[str]
    crashed_at: datetime | None


def count_failures(
    start: datetime, end: datetime, width: timedelta, *, limit: int, counted_jobs: int = MAX_FAILURES
) -> Statement[FailureCount]:
    """The failed jobs from `start` to before `end`, in buckets of `width` counted from `start`, the newest first.

    Only the counted_jobs newest are counted.
    """
    newest = (
        sa.select(jobs.c.finished_at, jobs.c.error_code, jobs.c.model)
        .where(in_status(JobStatus.FAILED), jobs.c.finished_at >= start, jobs.c.finished_at < end)
        .order_by(jobs.c.finished_at.desc())
        .limit(counted_jobs)
        .cte("newest")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    bucket = sa.func.date_bin(width, newest.c.finished_at, sa.literal(start, sa.DateTime(timezone=True)))
    count = sa.func.count()
    return Statement(
        sa.select(bucket.label("started_at"), newest.c.error_code.label("code"), newest.c.model, count.label("jobs"))
        .group_by(bucket, newest.c.error_code, newest.c.model)
        .order_by(bucket.desc(), count.desc(), newest.c.error_code, newest.c.model)
        .limit(limit),
        FailureCount,
    )


def list_slow(by: Duration, *, limit: int, ended_jobs: int = MAX_ENDED) -> Statement[SlowJob]:
    """The slowest among the ended_jobs that ended last."""
    names = ("id", "project_id", "batch_id", "model", "status", "attempts", "created_at", "started_at", "finished_at")
    last = (
        sa.select(*(jobs.c[name] for name in names))
        .where(jobs.c.finished_at.is_not(None))
        .order_by(jobs.c.finished_at.desc())
        .limit(ended_jobs)
        .cte("last")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    job = last.c
    durations: dict[Duration, sa.ColumnElement[timedelta]] = {
        "wait": job.started_at - job.created_at,
        "run": job.finished_at - job.started_at,
        "total": job.finished_at - job.created_at,
    }
    own = (job[name] for name in names if name not in ("created_at", "started_at"))
    seconds = (
        sa.cast(sa.extract("epoch", value), sa.Double).label(f"{name}_seconds") for name, value in durations.items()
    )
    return Statement(
        sa.select(*own, *seconds).where(durations[by].is_not(None)).order_by(durations[by].desc(), job.id).limit(limit),
        SlowJob,
    )


def list_crashed(*, limit: int, after: str | None = None) -> Statement[CrashedJob]:
    """The jobs that crashed a worker, or were in its hands when it died, the newest first.

    after: the id of the last job of the page before.
    """
    names = ("id", "project_id", "batch_id", "model", "status", "crashes", "attempts", "error_code", "created_at")
    page = (
        sa.select(*(jobs.c[name] for name in names))
        .where(jobs.c.crashes > 0, *([] if after is None else [jobs.c.id < after]))
        .order_by(jobs.c.id.desc())
        .limit(limit)
        .cte("page")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    worker = job_events.c.data["worker"].astext
    is_crash = job_events.c.data["reason"].astext == "lease_expired"
    no_workers = sa.literal_column("'{}'::text[]", ARRAY(sa.Text))
    events = (
        sa.select(
            sa.func.coalesce(sa.func.array_agg(sa.distinct(worker)).filter(worker.is_not(None)), no_workers).label(
                "workers"
            ),
            sa.func.max(job_events.c.created_at).filter(is_crash).label("crashed_at"),
        )
        .where(job_events.c.job_id == page.c.id)
        .lateral("events")
    )
    return Statement(
        sa.select(*page.c, events.c.workers, events.c.crashed_at)
        .select_from(page.join(events, sa.true()))
        .order_by(page.c.id.desc()),
        CrashedJob,
    )
