"""The verbs of a job, except `submit` (`core.submits`), `claim` (`core.leases`) and those of `core.reservations`.

Each function builds one SQL statement and does no I/O; the API awaits it, the worker executes it. The statement updates
the row, writes the event of the change and its webhook deliveries, and returns the updated rows. WHERE checks the
status: no row is returned if another process was first. docs/02-jobs.md has the chart of the statuses, the table of
all verbs, and the modules that write a status.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NotRequired, TypedDict
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.events import with_event, with_final_event
from core.generation_errors import AttemptTimeout, GenerationError, PoisonJob
from core.job_warnings import JobWarning
from core.moderation import Verdict
from core.reports import usage
from core.rows.job import EndedJob, JobRow
from core.status import JobStatus
from core.submits import json_rows, seconds, update_cte
from core.tables import JOB_COLUMNS, images, in_status, jobs, provider_calls
from core.text import storable


class StoredImage(TypedDict):
    """An image that is in storage, as `complete` records it."""

    id: str
    index: int
    seed: int
    storage_key: str
    media_type: str
    width: int
    height: int
    bytes: int
    sha256: str
    receipt: Mapping[str, Any]
    reproduction: NotRequired[Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Completion:
    """A job whose images are all in storage."""

    job_id: str
    images: Sequence[StoredImage]
    warnings: Sequence[JobWarning] = ()
    """In addition to those that the job has had since it was submitted."""


def complete(
    job_id: str,
    lease: UUID,
    stored_images: Sequence[StoredImage],
    warnings: Sequence[JobWarning] = (),
    verdict: Verdict | None = None,
) -> Statement[EndedJob]:
    """`complete_jobs` for one job."""
    return complete_jobs([Completion(job_id, stored_images, warnings)], lease, verdict)


def complete_jobs(
    completions: Sequence[Completion], lease: UUID, verdict: Verdict | None = None
) -> Statement[EndedJob]:
    """Finish jobs of one lease whose images are all in storage, and record the images.

    A requested cancel has no effect any more. verdict: of the moderation; None if there was none.
    """
    values = {
        "current_lease": lease,
        "completions": [
            {"id": completion.job_id, "warnings": storable(list(completion.warnings))} for completion in completions
        ],
        "stored_images": [
            {"job_id": completion.job_id, **storable(image)}
            for completion in completions
            for image in completion.images
        ],
        "verdict": None if verdict is None else verdict.dump(),
    }
    return Statement(_COMPLETE, EndedJob, values)


def fail(job_id: str, lease: UUID, error: GenerationError, verdict: Verdict | None = None) -> Statement[JobRow]:
    """Fail a job that another attempt would not help. If its cancel was requested, it is cancelled instead.

    verdict: of the moderation, if that is the reason.
    """
    is_cancelled = jobs.c.cancel_requested_at.is_not(None)
    values = _finish_values(sa.case((is_cancelled, JobStatus.CANCELLED), else_=JobStatus.FAILED)) | {
        "failures": jobs.c.failures + 1,
        "error_code": sa.case((is_cancelled, None), else_=error.code),
        "error_message": sa.case((is_cancelled, None), else_=error.message),
    }
    if verdict is not None:
        values["moderation"] = verdict.dump()
    return Statement(with_final_event(update_cte(under_lease(job_id, lease).values(values))), JobRow)


def requeue(
    job_id: str,
    lease: UUID,
    reason: str,
    *,
    error: GenerationError | None = None,
    delay: timedelta = timedelta(0),
) -> Statement[JobRow]:
    """Put a job back into its queue.

    With an error, the attempt counts towards `max_attempts`: the job waits `delay`, doubled for each earlier failure,
    or fails if it has no attempt left. Without an error (a worker that drains), the attempt is not counted.
    """
    return Statement(
        put_back(
            under_lease(job_id, lease),
            reason,
            is_exhausted=sa.false() if error is None else jobs.c.failures + 1 >= jobs.c.max_attempts,
            error=error or GenerationError(),
            failures=jobs.c.failures + (0 if error is None else 1),
            not_before=NOW + seconds(delay.total_seconds() * sa.func.power(2, jobs.c.failures)),
        ),
        JobRow,
    )


def postpone(job_id: str, lease: UUID, reason: str, delay: timedelta) -> Statement[JobRow]:
    """Put a job back into its queue, to be claimed after `delay` at the earliest. The attempt is not counted."""
    return Statement(
        put_back(
            under_lease(job_id, lease),
            reason,
            is_exhausted=sa.false(),
            error=GenerationError(),
            not_before=NOW + sa.literal(delay, sa.Interval),
        ),
        JobRow,
    )


def reclaim(max_crashes: int, limit: int) -> Statement[JobRow]:
    """Requeue up to `limit` jobs whose lease has expired. A job that crashed `max_crashes` workers fails (poison_job).

    A job whose worker renewed the lease up to the attempt's deadline fails, too (attempt_timeout): it was no crash, and
    the next attempt would take as long. A provider's job is requeued even then, as its images may be paid for.

    The other jobs of its micro-batch count one crash too, but are executed alone from then on (`leases.claim`), so that
    only the job that causes the crashes reaches the limit.
    """
    # No index has the end of a lease, because each renewal would write it: all of the few jobs in progress are read.
    has_expired_lease = in_status(JobStatus.IN_PROGRESS), jobs.c.lease_expires_at <= STATEMENT_TIME
    pick = _pick(limit, *has_expired_lease)
    statement = put_back(
        sa.update(jobs).where(jobs.c.id == pick.c.id),
        "lease_expired",
        is_exhausted=sa.and_(~_IS_TOO_LATE, jobs.c.crashes + 1 >= max_crashes),
        error=PoisonJob(),
        is_too_late=_IS_TOO_LATE,
        crashes=jobs.c.crashes + sa.case((_IS_TOO_LATE, 0), else_=1),
        failures=jobs.c.failures + sa.case((_IS_TOO_LATE, 1), else_=0),
    )
    return Statement(statement, JobRow)


_IS_TOO_LATE = sa.and_(
    jobs.c.lease_expires_at >= jobs.c.attempt_deadline, ~sa.exists().where(provider_calls.c.job_id == jobs.c.id)
)
"""Whether a lease was renewed up to the deadline of the attempt, and no provider was called for the job."""


def cancel(project_id: str, job_id: str) -> Statement[JobRow]:
    """Cancel a job: at once while it is queued, at the next denoising step while it is in progress.

    No row is returned if the job does not exist, is final, or its cancel was requested before.
    """
    update = sa.update(jobs).where(jobs.c.id == job_id, jobs.c.project_id == project_id, *_IS_CANCELLABLE)
    return Statement(_cancel(update), JobRow)


def cancel_batch_jobs(batch_id: str, limit: int) -> Statement[JobRow]:
    """`cancel` for up to `limit` jobs of a batch. No row is returned when no job is left to cancel."""
    return cancel_jobs(limit, jobs.c.batch_id == batch_id, order=jobs.c.batch_id)


def cancel_jobs(
    limit: int, *conditions: sa.ColumnElement[bool], order: sa.ColumnElement[Any] | None = None
) -> Statement[JobRow]:
    """`cancel` for up to `limit` jobs that meet conditions. order: as for `_pick`."""
    pick = _pick(limit, *conditions, *_IS_CANCELLABLE, order=order)
    return Statement(_cancel(sa.update(jobs).where(jobs.c.id == pick.c.id)), JobRow)


def cancel_named_jobs(job_ids: Sequence[str]) -> Statement[JobRow]:
    """`cancel` for jobs by their ids. Unlike `cancel_jobs`, it waits for jobs that another transaction has locked."""
    # In the order of `complete_jobs` and `leases.renew`, so that none of them waits for another in a circle.
    named_jobs = (
        sa.select(jobs.c.id)
        .where(jobs.c.id == sa.any_(sa.literal(list(job_ids), ARRAY(sa.Text))), *_IS_CANCELLABLE)
        .order_by(jobs.c.id)
        .with_for_update()
        .cte("named_jobs")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return Statement(_cancel(sa.update(jobs).where(jobs.c.id == named_jobs.c.id)), JobRow)


def acknowledge_cancel(job_id: str, lease: UUID) -> Statement[JobRow]:
    """Finish the cancel of a job that a worker has stopped generating."""
    update = under_lease(job_id, lease).where(jobs.c.cancel_requested_at.is_not(None))
    return Statement(with_final_event(update_cte(update.values(_finish_values(JobStatus.CANCELLED)))), JobRow)


def expire(limit: int) -> Statement[JobRow]:
    """Expire up to `limit` jobs that were queued for longer than their maximum time."""
    is_overdue = in_status(JobStatus.QUEUED), jobs.c.expires_at <= STATEMENT_TIME
    pick = _pick(limit, *is_overdue, order=jobs.c.expires_at)
    update = sa.update(jobs).where(jobs.c.id == pick.c.id).values(_finish_values(JobStatus.EXPIRED))
    return Statement(with_final_event(update_cte(update)), JobRow)


def _pick(limit: int, *conditions: sa.ColumnElement[bool], order: sa.ColumnElement[Any] | None = None) -> sa.CTE:
    """Up to `limit` jobs that meet conditions and are not locked by another transaction.

    order: the first column of the index for the conditions. The order makes the planner use that index even if its
    statistics are old.
    """
    return (
        sa.select(jobs.c.id)
        .where(*conditions)
        .order_by(*([] if order is None else [order]))
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


_IS_CANCELLABLE = in_status(JobStatus.QUEUED, JobStatus.IN_PROGRESS), jobs.c.cancel_requested_at.is_(None)


def _cancel(update: sa.Update) -> sa.Select[Any]:
    is_queued = in_status(JobStatus.QUEUED)
    updated_jobs = update_cte(
        update.values(
            status=sa.case((is_queued, JobStatus.CANCELLED), else_=jobs.c.status),
            finished_at=sa.case((is_queued, NOW)),
            cancel_requested_at=NOW,
            version=jobs.c.version + 1,
        )
    )
    is_cancelled = in_status(JobStatus.CANCELLED, of=updated_jobs)
    return with_final_event(updated_jobs, sa.case((is_cancelled, "job.cancelled"), else_="job.cancel_requested"))


def under_lease(job_id: str | sa.ColumnElement[str], lease: UUID | sa.ColumnElement[UUID]) -> sa.Update:
    """An update of a job in progress. Only the holder of the current lease may make it."""
    return sa.update(jobs).where(jobs.c.id == job_id, in_status(JobStatus.IN_PROGRESS), jobs.c.lease == lease)


_NO_LEASE: dict[str, Any] = {
    "lease": None,
    "lease_expires_at": None,
    "attempt_deadline": None,
    "worker": None,
}


def _finish_values(status: Any) -> dict[str, Any]:
    return {"status": status, "finished_at": NOW, "version": jobs.c.version + 1, **_NO_LEASE}


def put_back(
    update: sa.Update,
    reason: str,
    *,
    is_exhausted: sa.ColumnElement[bool],
    error: GenerationError,
    is_too_late: sa.ColumnElement[bool] | None = None,
    device: str | None = None,
    **values: Any,
) -> sa.Select[Any]:
    """in_progress -> queued; cancelled if that was requested; failed with `error` if no attempt is left.

    update: the jobs, with their guard. is_exhausted: whether no attempt is left. is_too_late: whether it fails with
    AttemptTimeout instead. device: for the event. values: further columns to set.
    """
    is_cancelled = jobs.c.cancel_requested_at.is_not(None)
    code: sa.ColumnElement[str] = sa.literal(error.code)
    message: sa.ColumnElement[str] = sa.literal(error.message)
    if is_too_late is not None:
        code = sa.case((is_too_late, AttemptTimeout.code), else_=code)
        message = sa.case((is_too_late, AttemptTimeout().message), else_=message)
        is_exhausted = sa.or_(is_too_late, is_exhausted)
    is_failed = sa.and_(~is_cancelled, is_exhausted)
    status = sa.case((is_cancelled, JobStatus.CANCELLED), (is_exhausted, JobStatus.FAILED), else_=JobStatus.QUEUED)
    updated_jobs = update_cte(
        update.values(
            status=status,
            finished_at=sa.case((sa.or_(is_cancelled, is_exhausted), NOW)),
            error_code=sa.case((is_failed, code)),
            error_message=sa.case((is_failed, message)),
            version=jobs.c.version + 1,
            **_NO_LEASE,
            **values,
        )
    )
    is_queued = in_status(JobStatus.QUEUED, of=updated_jobs)
    event_type = sa.case((is_queued, "job.requeued"), else_=sa.literal("job.") + updated_jobs.c.status)
    return with_final_event(updated_jobs, event_type, reason=reason, device=device)


_COMPLETED_COLUMNS = {
    *EndedJob.__slots__, "project_id", "api_key_id", "operation", "parameters", "attempts", "webhook",
}  # fmt: skip
"""What the worker, the event, its deliveries and the usage of a completed job need."""


def _complete() -> sa.Select[Any]:
    """The statement of `complete_jobs`, without its values."""
    completions = json_rows("completions", sa.column("id", sa.Text), sa.column("warnings", JSONB))
    # In the order of `leases.renew`, which the same worker may execute at the same time.
    of_lease = (
        sa.select(jobs.c.id, completions.c.warnings)
        .join(completions, completions.c.id == jobs.c.id)
        .where(jobs.c.lease == sa.bindparam("current_lease", type_=sa.Uuid), in_status(JobStatus.IN_PROGRESS))
        .order_by(jobs.c.id)
        .with_for_update(of=jobs)
        .cte("of_lease")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    verdict = sa.cast(sa.bindparam("verdict", type_=JSONB(none_as_null=True)), JSONB)
    values = _finish_values(JobStatus.COMPLETED) | {
        "warnings": jobs.c.warnings.op("||")(of_lease.c.warnings),
        "moderation": verdict,
    }
    update = sa.update(jobs).where(jobs.c.id == of_lease.c.id).values(values)
    updated_jobs = update.returning(*(column for column in JOB_COLUMNS if column.name in _COMPLETED_COLUMNS)).cte(
        "updated_jobs"
    )
    columns = (sa.column(name, images.c[name].type) for name in ("job_id", *StoredImage.__annotations__))
    new_images = json_rows("stored_images", *columns)
    inserted_images = (
        sa.insert(images)
        .from_select(
            ["project_id", *(column.name for column in new_images.c)],
            sa.select(updated_jobs.c.project_id, *new_images.c).join(
                new_images, new_images.c.job_id == updated_jobs.c.id
            ),
        )
        .cte("inserted_images")
    )
    entries = usage.with_images(updated_jobs, new_images)
    statement = with_event(updated_jobs, "job.completed").add_cte(inserted_images, entries)
    return statement.with_only_columns(*(updated_jobs.c[name] for name in EndedJob.__slots__))


# Built once, because every job executes it: building it takes longer than executing it (docs/05-performance.md).
_COMPLETE = _complete()
