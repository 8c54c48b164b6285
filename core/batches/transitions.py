"""The verbs that move a batch, and what is read of it: submit, claim, accept, refuse, cancel, settle, complete.

Each builds one SQL statement, as `core.jobs` does; the event and the deliveries it causes are part of it.

    submit ──> validating ──accept──> in_progress ──settle──> finalizing ──complete──> completed, expired, cancelled
                 │ └──refuse──> failed     └──cancel──> cancelling ──settle──┘
                 └──cancel──> cancelled

Its lines are jobs, and nothing counts them as they move: while a batch runs its counts are read off an index, in one
snapshot, so that they always add up; once it is final they are kept. What a client may ask for is in
`core.batches.requests`, how lines become jobs in `core.batches.input_file`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypedDict
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from core.clock import NOW
from core.db import Statement
from core.events import with_event
from core.ids import new_id
from core.queries import images_of
from core.rows import BatchEventRow, BatchJobRow, BatchRow, ClaimedBatch, ShownBatch, StatusCount
from core.status import BatchStatus, JobStatus
from core.tables import batch_events, batches, jobs

RATE_WINDOW = timedelta(minutes=1)
"""Over how long a batch's rate is taken."""

OPEN = tuple(status for status in BatchStatus if not status.is_final)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A checked request for a batch. With a `total` its jobs are inserted beside it; else its lines are read later."""

    project_id: str
    endpoint: str
    completion_window: timedelta
    id: str = field(default_factory=lambda: new_id("batch"))
    input_file_id: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    response_format: str = "url"
    output_ttl: timedelta | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    webhook: Mapping[str, Any] | None = None
    retried_from: str | None = None
    total: int = 0
    model: str | None = None
    cost: float = 0.0


class LineError(TypedDict):
    """What is wrong with a line of a batch."""

    line: int | None  # from 1
    code: str
    param: str | None
    message: str


def submit(new: NewBatch, max_open: int) -> Statement[BatchRow]:
    """Enter a batch. No row back: the project has `most_open` batches under way already."""
    names = [name for name in NewBatch.__slots__ if name != "webhook"]
    is_read = new.total > 0
    status = BatchStatus.IN_PROGRESS if is_read else BatchStatus.VALIDATING
    under_way = (
        sa.select(sa.func.count())
        .select_from(batches)
        .where(batches.c.project_id == new.project_id, _is(*OPEN))
        .scalar_subquery()
    )
    values = [
        *(sa.literal(getattr(new, name), batches.c[name].type) for name in names),
        sa.null() if new.webhook is None else sa.literal(new.webhook, JSONB),
        sa.literal(status, sa.Text),
        NOW + sa.literal(new.completion_window, sa.Interval),
        NOW if is_read else sa.null(),
    ]
    return Statement(
        with_event(
            sa.insert(batches)
            .from_select(
                [*names, "webhook", "status", "expires_at", "in_progress_at"],
                sa.select(*values).where(under_way < max_open),
            )
            .returning(*batches.c)
            .cte("updated"),
            subject="batch",
        ),
        BatchRow,
    )


def claim(lease: UUID, length: timedelta) -> Statement[ClaimedBatch]:
    """Take a batch that is to be read, or whose files are to be written, and that nobody is at. `lease` is fresh."""
    free = sa.or_(batches.c.lease.is_(None), batches.c.lease_expires_at <= NOW)
    pick = (
        sa.select(batches.c.id)
        .where(_is(BatchStatus.VALIDATING, BatchStatus.FINALIZING), free)
        .order_by(batches.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return Statement(
        (
            sa.update(batches)
            .where(batches.c.id == pick.c.id)
            .values(lease=lease, lease_expires_at=NOW + length)
            .returning(*batches.c)
        ),
        ClaimedBatch,
    )


def renew(batch_id: str, lease: UUID, length: timedelta) -> Statement[str]:
    """Stay at a batch for another `length`. No row back: it was cancelled, or somebody else is at it."""
    return Statement(
        (
            _held(batch_id, lease)
            .where(batches.c.lease_expires_at > NOW)
            .values(lease_expires_at=NOW + length)
            .returning(batches.c.id)
        ),
        str,
    )


def accept(batch_id: str, lease: UUID, *, total: int, model: str | None, cost: float) -> Statement[BatchRow]:
    """Every line is right and its job inserted, in the same transaction. No row back: undo that."""
    return Statement(
        with_event(
            _held(batch_id, lease)
            .where(_is(BatchStatus.VALIDATING))
            .values(_entered(BatchStatus.IN_PROGRESS) | {"total": total, "model": model, "cost": cost})
            .returning(*batches.c)
            .cte("updated"),
            subject="batch",
        ),
        BatchRow,
    )


def refuse(batch_id: str, lease: UUID, errors: Sequence[LineError]) -> Statement[BatchRow]:
    """Lines are wrong: nothing of it runs, so that there is nothing to count."""
    return Statement(
        with_event(
            _held(batch_id, lease)
            .where(_is(BatchStatus.VALIDATING))
            .values(_entered(BatchStatus.FAILED) | {"errors": list(errors), "counts": {}})
            .returning(*batches.c)
            .cte("updated"),
            subject="batch",
        ),
        BatchRow,
    )


def cancel(project_id: str, batch_id: str) -> Statement[BatchRow]:
    """Wish that a batch stop. No row back: it does not exist, is final, or its files are being written already."""
    unread = _is(BatchStatus.VALIDATING)
    return Statement(
        with_event(
            sa.update(batches)
            .where(
                batches.c.id == batch_id,
                batches.c.project_id == project_id,
                _is(BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS),
            )
            .values(
                status=sa.case((unread, BatchStatus.CANCELLED), else_=BatchStatus.CANCELLING),
                cancelling_at=NOW,
                cancelled_at=sa.case((unread, NOW)),
                counts=sa.case((unread, sa.literal({}, JSONB))),
                version=batches.c.version + 1,
                lease=None,
                lease_expires_at=None,
            )
            .returning(*batches.c)
            .cte("updated"),
            subject="batch",
        ),
        BatchRow,
    )


def finalize() -> Statement[BatchRow]:
    """Every batch whose jobs have all ended goes on to have its files written."""
    alive = sa.select(sa.literal(1)).where(
        jobs.c.batch_id == batches.c.id,
        jobs.c.batch_id.is_not(None),
        jobs.c.status.in_([sa.literal_column(f"'{status}'") for status in (JobStatus.QUEUED, JobStatus.IN_PROGRESS)]),
    )
    return Statement(
        with_event(
            sa.update(batches)
            .where(_is(BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING), ~alive.exists())
            .values(_entered(BatchStatus.FINALIZING))
            .returning(*batches.c)
            .cte("updated"),
            subject="batch",
        ),
        BatchRow,
    )


def complete(
    batch_id: str, lease: UUID, counts: Mapping[str, int], *, output_file_id: str | None, error_file_id: str | None
) -> Statement[BatchRow]:
    """Its files are written. How it ended: stopped by its owner, by the end of its window, or not at all.

    A line that expired before the window's end had a time of its own.
    """
    is_late = sa.and_(sa.literal(bool(counts.get(JobStatus.EXPIRED))), batches.c.expires_at <= NOW)
    ended = sa.case(
        (batches.c.cancelling_at.is_not(None), BatchStatus.CANCELLED),
        (is_late, BatchStatus.EXPIRED),
        else_=BatchStatus.COMPLETED,
    )
    at = {
        f"{status}_at": sa.case((ended == status, NOW))
        for status in (BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED)
    }
    return Statement(
        with_event(
            _held(batch_id, lease)
            .where(_is(BatchStatus.FINALIZING))
            .values(
                {
                    **at,
                    "status": ended,
                    "version": batches.c.version + 1,
                    "lease": None,
                    "lease_expires_at": None,
                    "counts": dict(counts),
                    "output_file_id": output_file_id,
                    "error_file_id": error_file_id,
                }
            )
            .returning(*batches.c)
            .cte("updated"),
            subject="batch",
        ),
        BatchRow,
    )


def get_batch(project_id: str, batch_id: str) -> Statement[ShownBatch]:
    """One batch as it is now, with its counts, and how many jobs ended in the last RATE_WINDOW."""
    return Statement(_shown().where(batches.c.id == batch_id, batches.c.project_id == project_id), ShownBatch)


def get_batch_by_id(batch_id: str) -> Statement[ShownBatch]:
    """One batch as it is now, for who has the right to see it already."""
    return Statement(_shown().where(batches.c.id == batch_id), ShownBatch)


def find_open(batch_id: str) -> Statement[str]:
    """A row if a batch has not ended yet."""
    return Statement(sa.select(batches.c.id).where(batches.c.id == batch_id, batches.c.counts.is_(None)), str)


def list_batches(project_id: str, *, limit: int, after: str | None = None) -> Statement[ShownBatch]:
    """Batches, newest first. `after` is the id of the last one of the page before."""
    found = _shown().where(batches.c.project_id == project_id)
    if after is not None:
        found = found.where(batches.c.id < after)
    return Statement(found.order_by(batches.c.id.desc()).limit(limit), ShownBatch)


def get_retry(project_id: str, batch_id: str) -> Statement[ShownBatch]:
    """The batch that a retry of this one made."""
    return Statement(_shown().where(batches.c.retried_from == batch_id, batches.c.project_id == project_id), ShownBatch)


def list_events(batch_id: str, after: int) -> Statement[BatchEventRow]:
    """A batch's events with a `seq` beyond `after`, in order."""
    found = sa.select(batch_events).where(batch_events.c.batch_id == batch_id, batch_events.c.seq > after)
    return Statement(found.order_by(batch_events.c.seq), BatchEventRow)


def list_cancelling() -> Statement[str]:
    """The batches whose jobs are to be stopped."""
    return Statement(sa.select(batches.c.id).where(_is(BatchStatus.CANCELLING)), str)


def list_lines(batch_id: str, *, after: int, limit: int, completed: bool | None = None) -> Statement[BatchJobRow]:
    """Jobs of a batch beyond line index `after`, in order, with their images; of those that did or did not complete."""
    found = sa.select(jobs, images_of(jobs.c.id).label("images")).where(
        jobs.c.batch_id == batch_id, jobs.c.batch_index > after
    )
    if completed is not None:
        is_completed = jobs.c.status == JobStatus.COMPLETED
        found = found.where(is_completed if completed else ~is_completed)
    return Statement(found.order_by(jobs.c.batch_index).limit(limit), BatchJobRow)


def count_jobs(batch_id: str) -> Statement[StatusCount]:
    """How many jobs of a batch are in which status."""
    return Statement(
        (
            sa.select(jobs.c.status, sa.func.count().label("jobs"))
            .where(jobs.c.batch_id == batch_id)
            .group_by(jobs.c.status)
        ),
        StatusCount,
    )


def _shown() -> sa.Select[Any]:
    counted = counts_of(batches.c.id)
    lately = (
        sa.select(sa.func.count())
        .where(jobs.c.batch_id == batches.c.id, jobs.c.finished_at > sa.func.now() - RATE_WINDOW)
        .correlate(batches)
        .scalar_subquery()
    )
    is_final = batches.c.counts.is_not(None)
    columns = [column for column in batches.c if column is not batches.c.counts]
    return sa.select(
        *columns,
        sa.case((is_final, batches.c.counts), else_=counted).label("counts"),
        sa.case((is_final, None), else_=lately).label("lately"),
        NOW.label("now"),
    )


def counts_of(batch_id: sa.ColumnElement[str]) -> sa.ScalarSelect[Any]:
    """`counts` as one JSON object."""
    counted = (
        sa.select(jobs.c.status, sa.func.count().label("jobs"))
        .where(jobs.c.batch_id == batch_id)
        .group_by(jobs.c.status)
        .correlate(batches)
        .subquery("counted")
    )
    counts = sa.func.jsonb_object_agg(counted.c.status, counted.c.jobs)
    return sa.select(sa.func.coalesce(counts, sa.literal({}, JSONB))).scalar_subquery()


def _is(*statuses: BatchStatus) -> sa.ColumnElement[bool]:
    """Whether a batch is in one of these states; written as constants, so that the partial indexes can be used."""
    return batches.c.status.in_([sa.literal_column(f"'{status}'", sa.Text) for status in statuses])


def _held(batch_id: str, lease: UUID) -> sa.Update:
    return sa.update(batches).where(batches.c.id == batch_id, batches.c.lease == lease)


def _entered(status: BatchStatus) -> dict[str, Any]:
    return {
        "status": status,
        f"{status}_at": NOW,
        "version": batches.c.version + 1,
        "lease": None,
        "lease_expires_at": None,
    }
