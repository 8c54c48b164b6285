"""The verbs of a batch: submit, claim, accept, refuse, cancel, finalize, complete, fail.

Each function builds one SQL statement, as in `core.jobs`. The statement also inserts the event and its deliveries.

    submit ──> validating ──accept──> in_progress ──finalize──> finalizing ──complete──> completed, expired, cancelled
                 │ └──refuse,──> failed    └──cancel──> cancelling ──finalize──┘ └──fail──> failed
                 │    fail
                 └──cancel──> cancelled

The lines of a batch are jobs. There are no counters: the counts of a running batch are read from an index, in one
snapshot, so they always add up. A final batch has its counts in a column. Requests are in `core.batches.requests`, the
input file is in `core.batches.input_file`, statements that only read are in `core.batches.queries`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypedDict
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core.batches.queries import in_status
from core.clock import NOW
from core.db import Statement
from core.events import with_event
from core.ids import new_id
from core.rows.batch import BatchRow, ClaimedBatch
from core.status import BatchStatus, JobStatus
from core.tables import batches, jobs
from core.telemetry import tracing

OPEN = tuple(status for status in BatchStatus if not status.is_final)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A checked request for a batch. With a `total` the caller inserts the jobs; else the file is read later."""

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
    api_key_id: str | None = None
    input: Mapping[str, Any] = field(default_factory=dict)
    traceparent: str | None = field(default_factory=tracing.current_traceparent)
    total: int = 0
    model: str | None = None
    cost: float = 0.0


class LineError(TypedDict):
    """An error in a line of an input file."""

    line: int | None  # from 1
    code: str
    param: str | None
    message: str


def submit(new: NewBatch, max_open: int) -> Statement[BatchRow]:
    """Insert a batch. No row is returned if the project already has `max_open` batches that are not final."""
    names = [name for name in NewBatch.__slots__ if name != "webhook"]
    has_jobs = new.total > 0
    status = BatchStatus.IN_PROGRESS if has_jobs else BatchStatus.VALIDATING
    open_count = (
        sa.select(sa.func.count())
        .select_from(batches)
        .where(batches.c.project_id == new.project_id, in_status(*OPEN))
        .scalar_subquery()
    )
    values = [
        *(sa.literal(getattr(new, name), batches.c[name].type) for name in names),
        sa.null() if new.webhook is None else sa.literal(new.webhook, JSONB),
        sa.literal(status, sa.Text),
        NOW + sa.literal(new.completion_window, sa.Interval),
        NOW if has_jobs else sa.null(),
    ]
    return Statement(
        with_event(
            sa.insert(batches)
            .from_select(
                [*names, "webhook", "status", "expires_at", "in_progress_at"],
                sa.select(*values).where(open_count < max_open),
            )
            .returning(*batches.c)
            .cte("updated"),
            subject="batch",
        ),
        BatchRow,
    )


def claim(
    lease: UUID,
    length: timedelta,
    *,
    busy: Sequence[str] = (),
    last_served: Sequence[str] = (),
    first_attempt: bool = False,
) -> Statement[ClaimedBatch]:
    """Claim a batch to validate or finalize that has no valid lease. `lease` is a new token.

    The claim counts as an attempt until the status changes or `release` takes it back: a batch that ends the process
    cannot say so. Batches with fewer attempts come first, so that such a batch delays no other.

    busy: projects whose batches are not claimed. last_served: projects in the order in which they were served; they
    come after all others. Among batches of one project, the oldest is first. first_attempt: only batches without an
    attempt.
    """
    is_unleased = sa.or_(batches.c.lease.is_(None), batches.c.lease_expires_at <= NOW)
    turn = sa.func.array_position(sa.literal(list(last_served), ARRAY(sa.Text)), batches.c.project_id)
    pick = (
        sa.select(batches.c.id)
        .where(
            in_status(BatchStatus.VALIDATING, BatchStatus.FINALIZING),
            is_unleased,
            batches.c.project_id != sa.all_(sa.literal(list(busy), ARRAY(sa.Text))),
            batches.c.attempts == 0 if first_attempt else sa.true(),
        )
        .order_by(batches.c.attempts, turn.nulls_first(), batches.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return Statement(
        (
            sa.update(batches)
            .where(batches.c.id == pick.c.id)
            .values(lease=lease, lease_expires_at=NOW + length, attempts=batches.c.attempts + 1)
            .returning(*batches.c)
        ),
        ClaimedBatch,
    )


def renew(batch_id: str, lease: UUID, length: timedelta) -> Statement[str]:
    """Extend the lease by `length`. No row is returned if the batch was cancelled or the lease was lost."""
    extension = _of_lease(batch_id, lease).where(batches.c.lease_expires_at > NOW).values(lease_expires_at=NOW + length)
    return Statement(extension.returning(batches.c.id), str)


def release(batch_id: str, lease: UUID, length: timedelta) -> Statement[str]:
    """Take back the attempt of a claim that was interrupted. The batch can be claimed again after `length`."""
    change = _of_lease(batch_id, lease).values(attempts=batches.c.attempts - 1, lease_expires_at=NOW + length)
    return Statement(change.returning(batches.c.id), str)


def accept(
    batch_id: str, lease: UUID, *, total: int, model: str | None, cost: float, summary: Mapping[str, Any] | None = None
) -> Statement[BatchRow]:
    """All lines are valid. The caller inserts the jobs in the same transaction; without a row it rolls back.

    summary: how the input file was read.
    """
    values = {"total": total, "model": model, "cost": cost}
    return Statement(
        with_event(
            _of_lease(batch_id, lease)
            .where(in_status(BatchStatus.VALIDATING))
            .values(_status_values(BatchStatus.IN_PROGRESS) | values | _input_values(summary))
            .returning(*batches.c)
            .cte("updated"),
            subject="batch",
        ),
        BatchRow,
    )


def refuse(
    batch_id: str, lease: UUID, errors: Sequence[LineError], summary: Mapping[str, Any] | None = None
) -> Statement[BatchRow]:
    """Some lines are invalid: the batch fails, and has no jobs. summary: how the input file was read."""
    update = _of_lease(batch_id, lease).where(in_status(BatchStatus.VALIDATING))
    return _fail(update.values(_input_values(summary)) if summary else update, errors, {})


def _input_values(summary: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if summary is None else {"input": batches.c.input.op("||")(sa.literal(dict(summary), JSONB))}


def fail(batch_id: str, lease: UUID, error: LineError, counts: Mapping[str, int]) -> Statement[BatchRow]:
    """All attempts to read a batch or to write its files have failed. `counts`: those of its jobs, which stay."""
    is_claimable = in_status(BatchStatus.VALIDATING, BatchStatus.FINALIZING)
    return _fail(_of_lease(batch_id, lease).where(is_claimable), [error], counts)


def _fail(update: sa.Update, errors: Sequence[LineError], counts: Mapping[str, int]) -> Statement[BatchRow]:
    return Statement(
        with_event(
            update.values(_status_values(BatchStatus.FAILED) | {"errors": list(errors), "counts": dict(counts)})
            .returning(*batches.c)
            .cte("updated"),
            subject="batch",
        ),
        BatchRow,
    )


def cancel(project_id: str, batch_id: str) -> Statement[BatchRow]:
    """Cancel a batch. No row is returned if it does not exist, is final, or is being finalized."""
    is_validating = in_status(BatchStatus.VALIDATING)
    return Statement(
        with_event(
            sa.update(batches)
            .where(
                batches.c.id == batch_id,
                batches.c.project_id == project_id,
                in_status(BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS),
            )
            .values(
                status=sa.case((is_validating, BatchStatus.CANCELLED), else_=BatchStatus.CANCELLING),
                cancelling_at=NOW,
                cancelled_at=sa.case((is_validating, NOW)),
                counts=sa.case((is_validating, sa.literal({}, JSONB))),
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
    """Begin to finalize every batch whose jobs are all final."""
    alive = sa.select(sa.literal(1)).where(
        jobs.c.batch_id == batches.c.id,
        jobs.c.batch_id.is_not(None),
        jobs.c.status.in_([sa.literal_column(f"'{status}'") for status in (JobStatus.QUEUED, JobStatus.IN_PROGRESS)]),
    )
    return Statement(
        with_event(
            sa.update(batches)
            .where(in_status(BatchStatus.IN_PROGRESS, BatchStatus.CANCELLING), ~alive.exists())
            .values(_status_values(BatchStatus.FINALIZING))
            .returning(*batches.c)
            .cte("updated"),
            subject="batch",
        ),
        BatchRow,
    )


def complete(
    batch_id: str, lease: UUID, counts: Mapping[str, int], *, output_file_id: str | None, error_file_id: str | None
) -> Statement[BatchRow]:
    """The files are written: the batch is cancelled, expired or completed.

    It is expired if jobs expired and its window has ended. A job that expires before that had its own `expires_after`.
    """
    is_late = sa.and_(sa.literal(bool(counts.get(JobStatus.EXPIRED))), batches.c.expires_at <= NOW)
    final_status = sa.case(
        (batches.c.cancelling_at.is_not(None), BatchStatus.CANCELLED),
        (is_late, BatchStatus.EXPIRED),
        else_=BatchStatus.COMPLETED,
    )
    at = {
        f"{status}_at": sa.case((final_status == status, NOW))
        for status in (BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED)
    }
    return Statement(
        with_event(
            _of_lease(batch_id, lease)
            .where(in_status(BatchStatus.FINALIZING))
            .values(
                {
                    **at,
                    "status": final_status,
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


def _of_lease(batch_id: str, lease: UUID) -> sa.Update:
    return sa.update(batches).where(batches.c.id == batch_id, batches.c.lease == lease)


def _status_values(status: BatchStatus) -> dict[str, Any]:
    return {
        "status": status,
        f"{status}_at": NOW,
        "version": batches.c.version + 1,
        "lease": None,
        "lease_expires_at": None,
        "attempts": 0,
    }
