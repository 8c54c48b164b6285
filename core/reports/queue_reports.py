"""What an operator sees of queues and workers. Each statement reads an index, and no more rows than a maximum."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypedDict

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, aggregate_order_by

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

MAX_WORKERS = 1000
"""Workers that a list has, at most."""


@dataclass(slots=True)
class QueueReport:
    """A queue that has jobs. depth: jobs that wait, up to MAX_DEPTH. ended_jobs: those of RATE_WINDOW."""

    queue: str
    depth: int
    oldest_at: datetime | None
    in_progress: int
    ended_jobs: int
    now: datetime


class MicrobatchJson(TypedDict):
    """A micro-batch in hand, as Postgres makes JSON of its jobs. Times: ISO 8601."""

    job_ids: Sequence[str]
    model: str
    started_at: str
    lease_expires_at: str


@dataclass(slots=True)
class WorkerReport:
    """A worker that runs, what it reports about its device (`core.workers`), and the micro-batches in hand."""

    name: str
    queues: Sequence[str]
    is_ready: bool
    expires_at: datetime
    renewed_at: datetime | None
    device: str | None
    loaded_models: Sequence[str]
    resident_bytes: int | None
    device_bytes: int | None
    device_capacity: int | None
    microbatches: Sequence[MicrobatchJson]
    now: datetime

    @property
    def job_ids(self) -> list[str]:
        """The jobs of all micro-batches in hand."""
        return [job_id for microbatch in self.microbatches for job_id in microbatch["job_ids"]]

    @property
    def models(self) -> list[str]:
        """The models of these jobs, each once."""
        return sorted({microbatch["model"] for microbatch in self.microbatches})

    @property
    def started_at(self) -> datetime | None:
        """When the oldest micro-batch in hand was claimed; None: there is none."""
        return min((datetime.fromisoformat(item["started_at"]) for item in self.microbatches), default=None)

    @property
    def lease_expires_at(self) -> datetime | None:
        """When the first lease in hand ends."""
        return min((datetime.fromisoformat(item["lease_expires_at"]) for item in self.microbatches), default=None)


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
    """The workers that run, at most MAX_WORKERS, with the micro-batches that each has in hand."""
    microbatch = (
        sa.select(
            jobs.c.worker,
            sa.func.array_agg(aggregate_order_by(jobs.c.id, jobs.c.id)).label("job_ids"),
            sa.func.min(jobs.c.model).label("model"),
            sa.func.min(jobs.c.started_at).label("started_at"),
            sa.func.min(jobs.c.lease_expires_at).label("lease_expires_at"),
        )
        .where(in_status(JobStatus.IN_PROGRESS))
        .group_by(jobs.c.worker, jobs.c.lease)
        .subquery("microbatch")
    )
    parts = ((name, microbatch.c[name]) for name in MicrobatchJson.__annotations__)
    item = sa.func.jsonb_build_object(*(part for pair in parts for part in pair))
    in_hand = (
        sa.select(
            microbatch.c.worker,
            sa.func.jsonb_agg(aggregate_order_by(item, microbatch.c.started_at)).label("microbatches"),
        )
        .group_by(microbatch.c.worker)
        .subquery("in_hand")
    )
    return Statement(
        sa.select(
            *(workers.c[name] for name in ("name", "queues", "is_ready", "expires_at", "renewed_at", "device")),
            sa.func.coalesce(workers.c.loaded_models, sa.literal_column("'{}'::text[]")).label("loaded_models"),
            *(workers.c[name] for name in ("resident_bytes", "device_bytes", "device_capacity")),
            sa.func.coalesce(in_hand.c.microbatches, sa.literal([], JSONB)).label("microbatches"),
            NOW.label("now"),
        )
        .select_from(workers.outerjoin(in_hand, in_hand.c.worker == workers.c.name))
        .where(workers.c.expires_at > NOW)
        .order_by(workers.c.name)
        .limit(MAX_WORKERS),
        WorkerReport,
    )
