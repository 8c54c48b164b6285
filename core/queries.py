"""Queries of jobs, events, images and queues. Each function builds one SELECT.

Queries by id also compare the project, so the ids of other projects return nothing. Updates are in `core.jobs`.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, aggregate_order_by

from core.clock import NOW
from core.db import Statement
from core.rows.job import ImageRow, JobEventRow, JobRow, JobVersion, SearchRow
from core.rows.queue import QueueStatsRow
from core.status import JobStatus
from core.tables import (
    JOB_COLUMNS,
    api_keys,
    batches,
    files,
    fine_tuned_models,
    fine_tuning_jobs,
    images,
    in_status,
    job_events,
    jobs,
    pauses,
    webhook_deliveries,
    webhook_endpoints,
    workers,
)
from core.tables.pauses import is_pause_of_queue, is_worker_paused

MAX_POSITION = 1000
"""The largest queue position that is counted. A larger one would be outdated before it is read."""


def images_of(job_id: sa.ColumnElement[str]) -> sa.ScalarSelect[Any]:
    """A job's images as one JSON array, in order."""
    image = sa.func.to_jsonb(sa.literal_column("images.*"))
    array = sa.func.jsonb_agg(aggregate_order_by(image, images.c.index))
    return (
        sa.select(sa.func.coalesce(array, sa.literal_column("'[]'::jsonb", JSONB)))
        .select_from(images)
        .where(images.c.job_id == job_id)
        .scalar_subquery()
    )


def _position(job: sa.FromClause) -> sa.ColumnElement[int]:
    """The number of jobs before a queued job in its queue, at most MAX_POSITION."""
    job_ahead = jobs.alias("job_ahead")
    ahead = sa.tuple_(job_ahead.c.precedence, job_ahead.c.fair_rank, job_ahead.c.id) < sa.tuple_(
        job.c.precedence, job.c.fair_rank, job.c.id
    )
    nearest = (
        sa.select(sa.literal(1))
        .select_from(job_ahead)
        .where(job_ahead.c.queue == job.c.queue, in_status(JobStatus.QUEUED, of=job_ahead), ahead)
        .correlate(job)
        .limit(MAX_POSITION)
        .subquery("ahead")
    )
    count = sa.select(sa.func.count()).select_from(nearest).correlate(job).scalar_subquery()
    return sa.case((in_status(JobStatus.QUEUED, of=job), count))


def _has_worker(job: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a worker serves the queue of a queued job."""
    server = sa.select(sa.literal(1)).where(
        job.c.queue == sa.any_(workers.c.queues), workers.c.expires_at > NOW, ~is_worker_paused(workers.c.name)
    )
    return sa.case((in_status(JobStatus.QUEUED, of=job), server.correlate(job).exists()))


def _is_queue_paused(job: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether an operator has paused the queue of a queued job."""
    pause = sa.select(sa.literal(1)).select_from(pauses).where(is_pause_of_queue(job.c.queue))
    return sa.case((in_status(JobStatus.QUEUED, of=job), pause.correlate(job).exists()))


def get_job(project_id: str, job_id: str) -> Statement[JobRow]:
    """One job with its images, its queue position, and whether a worker serves its queue."""
    return Statement(_JOB, JobRow, {"job_id": job_id, "of_project": project_id})


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
) -> Statement[JobRow]:
    """Jobs in order of creation, without queue positions. `after` is the id of the last job of the page before.

    The jobs of one batch are in the order of its lines.
    """
    position = _list_position(batch_id)
    conditions = _list_conditions(
        project_id, descending, after, batch_id, model, metadata, created_after, created_before
    )
    order = position.desc() if descending else position
    conditions += _status_conditions(statuses, conditions, order, limit, batch_id)
    statement = sa.select(*JOB_COLUMNS, images_of(jobs.c.id).label("images"))
    return Statement(statement.where(*conditions).order_by(order).limit(limit), JobRow)


SEARCHED_JOBS = 5000
"""Jobs whose prompts one statement of `search_jobs` reads: prompts have no index of words, so more would take long."""


def search_jobs(
    project_id: str,
    words: Sequence[str],
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
    searched_jobs: int = SEARCHED_JOBS,
) -> Statement[SearchRow]:
    """The ids of jobs whose prompts have all words, in any case, among the next searched_jobs of `list_jobs`.

    After them, as `is_end`, the last job that was read, if there may be more: the next search goes on after it.
    """
    position = _list_position(batch_id)
    order = position.desc() if descending else position
    conditions = _list_conditions(
        project_id, descending, after, batch_id, model, metadata, created_after, created_before
    )
    conditions += _status_conditions(statuses, conditions, order, searched_jobs, batch_id)
    read = (
        sa.select(jobs.c.id, jobs.c.prompt, position.label("position"))
        .where(*conditions)
        .order_by(order)
        .limit(searched_jobs)
        .cte("read")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    read_order = read.c.position.desc() if descending else read.c.position
    has_words = (read.c.prompt.icontains(word, autoescape=True) for word in words)
    hits = sa.select(read.c.id, read.c.position).where(*has_words).order_by(read_order).limit(limit).subquery("hits")
    last = (
        sa.select(read.c.id, read.c.position).order_by(read_order).offset(searched_jobs - 1).limit(1).subquery("last")
    )
    rows = sa.union_all(
        sa.select(hits.c.id, hits.c.position, sa.false().label("is_end")),
        sa.select(last.c.id, last.c.position, sa.true().label("is_end")),
    ).subquery("rows")
    rows_order = rows.c.position.desc() if descending else rows.c.position
    return Statement(sa.select(rows.c.id, rows.c.is_end).order_by(rows.c.is_end, rows_order), SearchRow)


def list_jobs_of(job_ids: Sequence[str]) -> Statement[JobRow]:
    """Jobs with their images, in any order, without queue positions. The caller has checked the project."""
    statement = sa.select(*JOB_COLUMNS, images_of(jobs.c.id).label("images"))
    return Statement(statement.where(_is_any_of(jobs.c.id, job_ids)), JobRow)


def _list_position(batch_id: str | None) -> sa.ColumnElement[Any]:
    return jobs.c.id if batch_id is None else jobs.c.batch_index


def _list_conditions(
    project_id: str,
    descending: bool,
    after: str | None,
    batch_id: str | None,
    model: str | None,
    metadata: Mapping[str, str] | None,
    created_after: datetime | None,
    created_before: datetime | None,
) -> list[sa.ColumnElement[bool]]:
    """The conditions of a list of jobs, without that of their statuses."""
    conditions: list[sa.ColumnElement[bool]] = [jobs.c.project_id == project_id]
    position = _list_position(batch_id)
    if after is not None:
        last: Any = after
        if batch_id is not None:
            last_job = jobs.alias("last_job")
            last = sa.select(last_job.c.batch_index).where(last_job.c.id == after).scalar_subquery()
        conditions.append(position < last if descending else position > last)
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
    return conditions


def _status_conditions(
    statuses: Sequence[str],
    conditions: Sequence[sa.ColumnElement[bool]],
    order: sa.ColumnElement[Any],
    limit: int,
    batch_id: str | None,
) -> list[sa.ColumnElement[bool]]:
    """The condition of one of these statuses, of which `limit` jobs are read.

    Several statuses are a page of each: an index has the jobs of one status in order, not those of several.
    """
    if not statuses:
        return []
    if len(statuses) == 1 or batch_id is not None:
        return [jobs.c.status.in_(statuses)]
    pages = (
        sa.select(jobs.c.id).where(*conditions, jobs.c.status == status).order_by(order).limit(limit)
        for status in dict.fromkeys(statuses)
    )
    return [jobs.c.id.in_(sa.select(sa.union_all(*pages).subquery("page").c.id))]


_HAS_METADATA = jobs.c.metadata != sa.literal_column("'{}'::jsonb")
"""The predicate of the index of metadata, as a constant: a query must imply it to use the index."""


def get_jobs(job_ids: Collection[str]) -> Statement[JobRow]:
    """Jobs of any project, with their images and queue positions. The caller checks the project."""
    return Statement(_JOBS, JobRow, {"job_ids": list(job_ids)})


ROW_TABLES = {
    "job": jobs,
    "file": files,
    "batch": batches,
    "fine-tuning job": fine_tuning_jobs,
    "webhook endpoint": webhook_endpoints,
    "webhook delivery": webhook_deliveries,
    "API key": api_keys,
}
"""The tables that lists of the API read."""


def find_row(kind: str, project_id: str, row_id: str, batch_id: str | None = None) -> Statement[str]:
    """The id of a row of a project, if it exists. kind: one of ROW_TABLES. batch_id: the batch of a job."""
    table = ROW_TABLES[kind]
    statement = sa.select(table.c.id).where(table.c.id == row_id, table.c.project_id == project_id)
    return Statement(statement if batch_id is None else statement.where(table.c.batch_id == batch_id), str)


def list_versions(job_ids: Collection[str]) -> Statement[JobVersion]:
    """The versions of jobs of any project: they say whether a job has changed."""
    return Statement(sa.select(jobs.c.id, jobs.c.version).where(_is_any_of(jobs.c.id, job_ids)), JobVersion)


def get_retry(project_id: str, job_id: str) -> Statement[JobRow]:
    """The job that a retry of this one made."""
    return Statement(
        sa.select(*JOB_COLUMNS).where(jobs.c.retried_from == job_id, jobs.c.project_id == project_id), JobRow
    )


def list_events(job_id: str, after: int) -> Statement[JobEventRow]:
    """A job's events with a `seq` beyond `after`, in order."""
    return Statement(
        (
            sa.select(job_events)
            .where(job_events.c.job_id == job_id, job_events.c.seq > after)
            .order_by(job_events.c.seq)
        ),
        JobEventRow,
    )


def get_image(project_id: str, image_id: str) -> Statement[ImageRow]:
    """One image of a project."""
    return Statement(sa.select(images).where(images.c.id == image_id, images.c.project_id == project_id), ImageRow)


def list_images(project_id: str, image_ids: Collection[str]) -> Statement[ImageRow]:
    """The images of a project with these ids, in no particular order."""
    statement = sa.select(images).where(images.c.project_id == project_id, _is_any_of(images.c.id, image_ids))
    return Statement(statement, ImageRow)


def get_image_by_id(image_id: str) -> Statement[ImageRow]:
    """One image, for a signed link; the signature is the permission."""
    return Statement(sa.select(images).where(images.c.id == image_id), ImageRow)


def queue_stats() -> Statement[QueueStatsRow]:
    """How many jobs wait for each model, and how many device-seconds they are estimated to take."""
    return Statement(
        (
            sa.select(
                jobs.c.model,
                sa.func.count().filter(in_status(JobStatus.QUEUED)).label("queued"),
                sa.func.count().filter(in_status(JobStatus.IN_PROGRESS)).label("in_progress"),
                sa.func.coalesce(sa.func.sum(jobs.c.cost), 0.0).label("device_seconds"),
            )
            .where(in_status(JobStatus.QUEUED, JobStatus.IN_PROGRESS))
            .group_by(jobs.c.model)
        ),
        QueueStatsRow,
    )


def claimable_queues() -> Statement[str]:
    """The queues in which a job could be claimed now: one index lookup each, however long they are."""
    first = sa.select(sa.func.min(jobs.c.queue).label("queue")).where(in_status(JobStatus.QUEUED))
    queues = first.cte("queues", recursive=True)
    next_queue = (
        sa.select(sa.func.min(jobs.c.queue))
        .where(in_status(JobStatus.QUEUED), jobs.c.queue > queues.c.queue)
        .correlate(queues)
        .scalar_subquery()
    )
    queues = queues.union_all(sa.select(next_queue).where(queues.c.queue.is_not(None)))
    claimable_job = sa.select(sa.literal(1)).where(
        jobs.c.queue == queues.c.queue, in_status(JobStatus.QUEUED), jobs.c.not_before <= NOW
    )
    return Statement(sa.select(queues.c.queue).where(claimable_job.correlate(queues).exists()), str)


def referenced_keys(keys: Sequence[str]) -> Statement[str]:
    """The storage keys that a row of an image, a file, a fine-tuned model or a training references."""
    return Statement(
        sa.union_all(
            *(
                sa.select(table.c.storage_key).where(_is_any_of(table.c.storage_key, keys))
                for table in (images, files, fine_tuned_models)
            ),
            sa.select(fine_tuning_jobs.c.state_key).where(_is_any_of(fine_tuning_jobs.c.state_key, keys)),
        ),
        str,
    )


def _is_any_of(column: sa.ColumnElement[str], values: Collection[str]) -> sa.ColumnElement[bool]:
    return column == sa.any_(sa.literal(list(values), ARRAY(sa.Text)))


_SELECT_JOB = sa.select(
    *JOB_COLUMNS,
    images_of(jobs.c.id).label("images"),
    _position(jobs).label("queue_position"),
    _has_worker(jobs).label("has_worker"),
    _is_queue_paused(jobs).label("is_queue_paused"),
)
_JOB = _SELECT_JOB.where(
    jobs.c.id == sa.bindparam("job_id", type_=sa.Text),
    jobs.c.project_id == sa.bindparam("of_project", type_=sa.Text),
)
"""The statement of `get_job`, with open values; built once, as every delivery runs it."""

_JOBS = _SELECT_JOB.where(jobs.c.id == sa.any_(sa.bindparam("job_ids", type_=ARRAY(sa.Text))))
"""The statement of `get_jobs`, with an open value; built once, as every poll runs it."""
