"""What is read from the database: one job, a page of jobs, a job's events, an image. Reads only; builds statements.

Every read names the project, so that another project's id finds nothing. Moves are in `core.jobs`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by

from core.clock import NOW
from core.status import JobStatus
from core.tables import files, images, in_status, job_events, jobs

MAX_POSITION = 1000
"""Beyond this many jobs ahead the position in line is not counted: it would be stale before it is read."""


def images_of(job_id: sa.ColumnElement[str]) -> sa.ScalarSelect[Any]:
    """A job's images as one JSON array, in order."""
    one = sa.func.to_jsonb(sa.literal_column("images.*"))
    ordered = sa.func.jsonb_agg(aggregate_order_by(one, images.c.index))
    return sa.select(sa.cast(ordered, JSONB)).select_from(images).where(images.c.job_id == job_id).scalar_subquery()


def _position(job: sa.FromClause) -> sa.ColumnElement[int]:
    """How many jobs of the same queue stand before a waiting one; at most FARTHEST_POSITION."""
    other = jobs.alias("other")
    ahead = sa.tuple_(other.c.precedence, other.c.fair_rank, other.c.id) < sa.tuple_(
        job.c.precedence, job.c.fair_rank, job.c.id
    )
    nearest = (
        sa.select(sa.literal(1))
        .select_from(other)
        .where(other.c.queue == job.c.queue, in_status(JobStatus.QUEUED, of=other), ahead)
        .correlate(job)
        .limit(MAX_POSITION)
        .subquery("ahead")
    )
    count = sa.select(sa.func.count()).select_from(nearest).correlate(job).scalar_subquery()
    return sa.case((in_status(JobStatus.QUEUED, of=job), count))


def get_job(project_id: str, job_id: str) -> sa.Select[Any]:
    """One job with its images and its place in line."""
    return _JOB.params(wanted_id=job_id, wanted_project=project_id)


def list_jobs(
    project_id: str,
    *,
    limit: int,
    descending: bool,
    after: str | None = None,
    statuses: Sequence[str] = (),
    batch_id: str | None = None,
    model: str | None = None,
    metadata: Mapping[str, str] | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
) -> sa.Select[Any]:
    """Jobs in order of creation, without their place in line. `after` is the id of the last job of the page before.

    Those of one batch come in the order of its lines.
    """
    conditions: list[sa.ColumnElement[bool]] = [jobs.c.project_id == project_id]
    place: sa.ColumnElement[Any] = jobs.c.id if batch_id is None else jobs.c.batch_index
    if after is not None:
        last: Any = after
        if batch_id is not None:
            other = jobs.alias("other")
            last = sa.select(other.c.batch_index).where(other.c.id == after).scalar_subquery()
        conditions.append(place < last if descending else place > last)
    if batch_id is not None:
        conditions.append(jobs.c.batch_id == batch_id)
    if model is not None:
        conditions.append(jobs.c.model == model)
    if metadata:
        conditions += [jobs.c.metadata.contains(dict(metadata)), _HAS_METADATA]
    if created_after is not None:
        conditions.append(jobs.c.created_at > created_after)
    if created_before is not None:
        conditions.append(jobs.c.created_at < created_before)
    order = place.desc() if descending else place
    if len(statuses) > 1 and batch_id is None:
        # A page of each status: an index has the jobs of one status in order, not those of several.
        pages = (
            sa.select(jobs.c.id).where(*conditions, jobs.c.status == status).order_by(order).limit(limit)
            for status in dict.fromkeys(statuses)
        )
        conditions = [jobs.c.id.in_(sa.select(sa.union_all(*pages).subquery("page").c.id))]
    elif statuses:
        conditions.append(jobs.c.status.in_(statuses))
    return sa.select(jobs, images_of(jobs.c.id).label("images")).where(*conditions).order_by(order).limit(limit)


_HAS_METADATA = jobs.c.metadata != sa.literal_column("'{}'::jsonb")
"""The predicate of the index of metadata, as a constant: a query must imply it to use the index."""


def get_status(project_id: str, job_id: str) -> sa.Select[Any]:
    """Only status and version of a job: what a waiting client needs to know."""
    return sa.select(jobs.c.status, jobs.c.version).where(jobs.c.id == job_id, jobs.c.project_id == project_id)


def get_retry(project_id: str, job_id: str) -> sa.Select[Any]:
    """The job that a retry of this one made."""
    return sa.select(jobs).where(jobs.c.retried_from == job_id, jobs.c.project_id == project_id)


def list_events(job_id: str, after: int) -> sa.Select[Any]:
    """A job's events with a `seq` beyond `after`, in order."""
    return (
        sa.select(job_events).where(job_events.c.job_id == job_id, job_events.c.seq > after).order_by(job_events.c.seq)
    )


def get_image(project_id: str, image_id: str) -> sa.Select[Any]:
    """One image's record."""
    return sa.select(images).where(images.c.id == image_id, images.c.project_id == project_id)


def get_image_by_id(image_id: str) -> sa.Select[Any]:
    """One image's record for a signed link, which is itself the permission."""
    return sa.select(images).where(images.c.id == image_id)


def queue_stats() -> sa.Select[Any]:
    """How many jobs wait for each model, and how many device-seconds they are estimated to take."""
    return (
        sa.select(
            jobs.c.model,
            sa.func.count().filter(in_status(JobStatus.QUEUED)).label("queued"),
            sa.func.count().filter(in_status(JobStatus.IN_PROGRESS)).label("in_progress"),
            sa.func.coalesce(sa.func.sum(jobs.c.cost), 0.0).label("device_seconds"),
        )
        .where(in_status(JobStatus.QUEUED, JobStatus.IN_PROGRESS))
        .group_by(jobs.c.model)
    )


def has_queued(queue: str, n: int) -> sa.Select[Any]:
    """A row if at least `n` jobs wait in a queue; looks at no more of them."""
    waiting = sa.select(sa.literal(1)).select_from(jobs).where(jobs.c.queue == queue, in_status(JobStatus.QUEUED))
    return waiting.offset(n - 1).limit(1)


def claimable_queues() -> sa.Select[Any]:
    """The queues in which a job could be claimed now: one look into the index for each, however long they are."""
    first = sa.select(sa.func.min(jobs.c.queue).label("queue")).where(in_status(JobStatus.QUEUED))
    queues = first.cte("queues", recursive=True)
    following = (
        sa.select(sa.func.min(jobs.c.queue))
        .where(in_status(JobStatus.QUEUED), jobs.c.queue > queues.c.queue)
        .correlate(queues)
        .scalar_subquery()
    )
    queues = queues.union_all(sa.select(following).where(queues.c.queue.is_not(None)))
    claimable = sa.select(sa.literal(1)).where(
        jobs.c.queue == queues.c.queue, in_status(JobStatus.QUEUED), jobs.c.not_before <= NOW
    )
    return sa.select(queues.c.queue).where(claimable.correlate(queues).exists())


def referenced_keys(keys: Sequence[str]) -> sa.CompoundSelect[Any]:
    """Which of these objects the row of an image or a file speaks of."""
    wanted = sa.any_(sa.literal(keys, ARRAY(sa.Text)))
    return sa.union_all(
        *(sa.select(table.c.storage_key).where(table.c.storage_key == wanted) for table in (images, files))
    )


_JOB = sa.select(jobs, images_of(jobs.c.id).label("images"), _position(jobs).label("queue_position")).where(
    jobs.c.id == sa.bindparam("wanted_id", type_=sa.Text),
    jobs.c.project_id == sa.bindparam("wanted_project", type_=sa.Text),
)
"""The statement of `job`, its values left open; built once, as every poll and every delivery runs it."""
