"""Statements that read batches, their lines and their events. `core.batches.transitions` has those that change them."""

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from core.clock import NOW
from core.db import Statement
from core.queries import images_of
from core.rows.batch import BatchEventRow, ShownBatch, StatusCount
from core.rows.job import BatchJobRow
from core.status import BatchStatus, JobStatus
from core.tables import JOB_COLUMNS, batch_events, batches, jobs

RATE_WINDOW = timedelta(minutes=1)
"""The period over which the rate of a batch is measured."""


def get_batch(project_id: str, batch_id: str) -> Statement[ShownBatch]:
    """One batch with its counts, and how many jobs finished in the last RATE_WINDOW."""
    return Statement(_select_batch().where(batches.c.id == batch_id, batches.c.project_id == project_id), ShownBatch)


def get_batch_by_id(batch_id: str) -> Statement[ShownBatch]:
    """Like `get_batch`, for callers that have checked the project."""
    return Statement(_select_batch().where(batches.c.id == batch_id), ShownBatch)


def find_open(batch_id: str) -> Statement[str]:
    """A row if a batch is not final."""
    return Statement(sa.select(batches.c.id).where(batches.c.id == batch_id, batches.c.counts.is_(None)), str)


def list_batches(project_id: str, *, limit: int, after: str | None = None) -> Statement[ShownBatch]:
    """Batches, newest first. `after` is the id of the last one of the page before."""
    statement = _select_batch().where(batches.c.project_id == project_id)
    if after is not None:
        statement = statement.where(batches.c.id < after)
    return Statement(statement.order_by(batches.c.id.desc()).limit(limit), ShownBatch)


def get_retry(project_id: str, batch_id: str) -> Statement[ShownBatch]:
    """The batch that retries this one."""
    return Statement(
        _select_batch().where(batches.c.retried_from == batch_id, batches.c.project_id == project_id), ShownBatch
    )


def list_events(batch_id: str, after: int) -> Statement[BatchEventRow]:
    """A batch's events with a `seq` beyond `after`, in order."""
    statement = sa.select(batch_events).where(batch_events.c.batch_id == batch_id, batch_events.c.seq > after)
    return Statement(statement.order_by(batch_events.c.seq), BatchEventRow)


def list_cancelling() -> Statement[str]:
    """The batches whose jobs are to be cancelled."""
    return Statement(sa.select(batches.c.id).where(in_status(BatchStatus.CANCELLING)), str)


def list_lines(batch_id: str, *, after: int, limit: int, completed: bool | None = None) -> Statement[BatchJobRow]:
    """Jobs of a batch after line index `after`, in order, with images; `completed` selects by status."""
    statement = sa.select(*JOB_COLUMNS, images_of(jobs.c.id).label("images")).where(
        jobs.c.batch_id == batch_id, jobs.c.batch_index > after
    )
    if completed is not None:
        is_completed = jobs.c.status == JobStatus.COMPLETED
        statement = statement.where(is_completed if completed else ~is_completed)
    return Statement(statement.order_by(jobs.c.batch_index).limit(limit), BatchJobRow)


def count_jobs(batch_id: str) -> Statement[StatusCount]:
    """The number of jobs of a batch, by status."""
    return Statement(
        (
            sa.select(jobs.c.status, sa.func.count().label("jobs"))
            .where(jobs.c.batch_id == batch_id)
            .group_by(jobs.c.status)
        ),
        StatusCount,
    )


def _select_batch() -> sa.Select[Any]:
    running_counts = counts_of(batches.c.id)
    finished_recently = (
        sa.select(sa.func.count())
        .where(jobs.c.batch_id == batches.c.id, jobs.c.finished_at > sa.func.now() - RATE_WINDOW)
        .correlate(batches)
        .scalar_subquery()
    )
    is_final = batches.c.counts.is_not(None)
    columns = [column for column in batches.c if column is not batches.c.counts]
    return sa.select(
        *columns,
        sa.case((is_final, batches.c.counts), else_=running_counts).label("counts"),
        sa.case((is_final, None), else_=finished_recently).label("finished_recently"),
        NOW.label("now"),
    )


def counts_of(batch_id: sa.ColumnElement[str]) -> sa.ScalarSelect[Any]:
    """`counts` as one JSON object."""
    per_status = (
        sa.select(jobs.c.status, sa.func.count().label("jobs"))
        .where(jobs.c.batch_id == batch_id)
        .group_by(jobs.c.status)
        .correlate(batches)
        .subquery("per_status")
    )
    counts = sa.func.jsonb_object_agg(per_status.c.status, per_status.c.jobs)
    return sa.select(sa.func.coalesce(counts, sa.literal({}, JSONB))).scalar_subquery()


def in_status(*statuses: BatchStatus) -> sa.ColumnElement[bool]:
    """Whether a batch has one of these statuses; constants in the SQL, so that partial indexes can be used."""
    return batches.c.status.in_([sa.literal_column(f"'{status}'", sa.Text) for status in statuses])
