"""The verbs that move a job: submit, complete, fail, requeue, reclaim, cancel, acknowledge_cancel, expire, delete.

Each builds one SQL statement and does no I/O; the API awaits it, the worker executes it. The statement moves the row,
writes the event that says so and the deliveries to webhooks that it causes, and returns the moved rows: no row back
means that someone else was first. The guard is in WHERE. Two other modules write the status of a job: `core.leases`
(`claim`), and `core.job_inserts`, which inserts the jobs of a batch as `queued` by COPY, without an event.

    submit ──> queued ──claim──> in_progress ──complete──> completed
                 ^ │                 │ │ └──fail──────────> failed
                 │ ├─cancel/expire   │ └──acknowledge_cancel─> cancelled
                 └─┼──requeue/reclaim┘
                   └──> cancelled, expired

`postpone` goes the way of `requeue`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypedDict
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from core import fairness
from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.errors import GenerationError, PoisonJob
from core.events import with_event
from core.parameters import ResolvedParameters
from core.retention import batch_is_recorded
from core.rows import JobRow
from core.status import FINAL, JobStatus
from core.tables import JOB_COLUMNS, LEGACY_COLUMNS, images, in_status, jobs, legacy_values


@dataclass(frozen=True, slots=True)
class NewJob:
    """A checked request for n images, ready to be submitted. Built by `core.requests.plan`."""

    id: str
    project_id: str
    operation: str
    model: str
    prompt: str
    n: int
    parameters: ResolvedParameters
    queue: str
    microbatch_key: str
    microbatch_size: int
    priority: int
    cost: float  # device-seconds
    max_attempts: int
    ttl: timedelta  # how long it may wait
    inputs: Mapping[str, str] = field(default_factory=dict)  # ids of files: image, mask
    retried_from: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    webhook: Mapping[str, Any] | None = None  # its own receiver: url, events, secret


class StoredImage(TypedDict):
    """One image that lies in storage, as `complete` records it."""

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


def submit(*new: NewJob) -> Statement[JobRow]:
    """Put jobs in line, all or none. A repeated id is an integrity error, never a second job.

    Returns a row a job, in no order.
    """
    return Statement(_SUBMIT.params(new=[_as_json(number, job) for number, job in enumerate(new)]), JobRow)


class JobWarning(TypedDict):
    """Something that the owner of a job should know, though it is done: see `core.generation.Notice`."""

    code: str
    message: str
    param: str | None


def complete(
    job_id: str, lease: UUID, stored: Sequence[StoredImage], warnings: Sequence[JobWarning] = ()
) -> Statement[JobRow]:
    """Every image lies in storage: record them and finish the job. A wish to cancel came too late then."""
    return Statement(
        _COMPLETE.params(held_id=job_id, held_lease=lease, stored=list(stored), given_warnings=list(warnings)), JobRow
    )


def fail(job_id: str, lease: UUID, error: GenerationError) -> Statement[JobRow]:
    """Give a job up, as another attempt would end the same; a wish to cancel wins over the failure."""
    unwanted = jobs.c.cancel_requested_at.is_not(None)
    return Statement(
        with_event(
            _held(job_id, lease)
            .values(
                _ended(sa.case((unwanted, JobStatus.CANCELLED), else_=JobStatus.FAILED))
                | {
                    "failures": jobs.c.failures + 1,
                    "error_code": sa.case((unwanted, None), else_=error.code),
                    "error_message": sa.case((unwanted, None), else_=error.message),
                }
            )
            .returning(*JOB_COLUMNS)
            .cte("moved"),
        ),
        JobRow,
    )


def requeue(
    job_id: str,
    lease: UUID,
    reason: str,
    *,
    error: GenerationError | None = None,
    delay: timedelta = timedelta(0),
) -> Statement[JobRow]:
    """Give a job back to the line.

    With an error it counts against `max_attempts`, waits `delay`, doubled for each failure before, and fails when no
    attempt is left. Without one (a worker that drains) it costs the job nothing.
    """
    counted = 0 if error is None else 1
    return Statement(
        _give_back(
            _held(job_id, lease),
            reason,
            exhausted=sa.false() if error is None else jobs.c.failures + 1 >= jobs.c.max_attempts,
            error=error or GenerationError(),
            failures=jobs.c.failures + counted,
            not_before=NOW + _seconds(delay.total_seconds() * sa.func.power(2, jobs.c.failures)),
        ),
        JobRow,
    )


def postpone(job_id: str, lease: UUID, reason: str, delay: timedelta) -> Statement[JobRow]:
    """Give a job back to the line, to be taken up again after `delay` and not before. It costs the job nothing."""
    return Statement(
        _give_back(
            _held(job_id, lease),
            reason,
            exhausted=sa.false(),
            error=GenerationError(),
            not_before=NOW + sa.literal(delay, sa.Interval),
        ),
        JobRow,
    )


def reclaim(max_crashes: int, limit: int) -> Statement[JobRow]:
    """Take back jobs whose lease ran out, so many at most. One that took down `max_crashes` workers is a poison_job.

    Its companions in the micro-batch count one crash too, but are run alone from then on (`leases.claim`), so that
    only the guilty one reaches the limit.
    """
    # No index has the end of a lease, as each renewal would have to write it: the few jobs in progress are looked at.
    is_lost = in_status(JobStatus.IN_PROGRESS), jobs.c.lease_expires_at <= STATEMENT_TIME
    pick = _pick(limit, *is_lost)
    statement = _give_back(
        sa.update(jobs).where(jobs.c.id == pick.c.id),
        "lease_expired",
        exhausted=jobs.c.crashes + 1 >= max_crashes,
        error=PoisonJob(),
        crashes=jobs.c.crashes + 1,
    )
    return Statement(statement, JobRow)


def cancel(project_id: str, job_id: str) -> Statement[JobRow]:
    """Wish that a job stop: at once while it waits, at the next denoising step while it is drawn.

    No row back: it does not exist, is final, or was asked to stop before. It never touches another job.
    """
    waiting = in_status(JobStatus.QUEUED)
    moved = (
        sa.update(jobs)
        .where(
            jobs.c.id == job_id,
            jobs.c.project_id == project_id,
            in_status(JobStatus.QUEUED, JobStatus.IN_PROGRESS),
            jobs.c.cancel_requested_at.is_(None),
        )
        .values(_unwanted(waiting))
        .returning(*JOB_COLUMNS)
        .cte("moved")
    )
    return Statement(with_event(moved, _stopped_or_asked(moved)), JobRow)


def cancel_batch_jobs(batch_id: str, limit: int) -> Statement[JobRow]:
    """`cancel` for the jobs of a batch, some at a time. No row back: none is left to ask."""
    waiting = in_status(JobStatus.QUEUED)
    pick = _pick(
        limit,
        jobs.c.batch_id == batch_id,
        in_status(JobStatus.QUEUED, JobStatus.IN_PROGRESS),
        jobs.c.cancel_requested_at.is_(None),
        order=jobs.c.batch_id,
    )
    moved = (
        sa.update(jobs).where(jobs.c.id == pick.c.id).values(_unwanted(waiting)).returning(*JOB_COLUMNS).cte("moved")
    )
    return Statement(with_event(moved, _stopped_or_asked(moved)), JobRow)


def acknowledge_cancel(job_id: str, lease: UUID) -> Statement[JobRow]:
    """The worker has stopped drawing a job that its owner wished to stop."""
    return Statement(
        with_event(
            _held(job_id, lease)
            .where(jobs.c.cancel_requested_at.is_not(None))
            .values(_ended(JobStatus.CANCELLED))
            .returning(*JOB_COLUMNS)
            .cte("moved")
        ),
        JobRow,
    )


def expire(limit: int) -> Statement[JobRow]:
    """End jobs that have waited longer than they may, so many at most."""
    is_late = in_status(JobStatus.QUEUED), jobs.c.expires_at <= STATEMENT_TIME
    pick = _pick(limit, *is_late, order=jobs.c.expires_at)
    update = sa.update(jobs).where(jobs.c.id == pick.c.id).values(_ended(JobStatus.EXPIRED))
    return Statement(with_event(update.returning(*JOB_COLUMNS).cte("moved")), JobRow)


def delete(project_id: str, job_id: str) -> Statement[str]:
    """Forget a final job with its events and images. The caller has removed the objects first."""
    return Statement(
        (
            sa.delete(jobs)
            .where(jobs.c.id == job_id, jobs.c.project_id == project_id, in_status(*FINAL), batch_is_recorded())
            .returning(jobs.c.id)
        ),
        str,
    )


def _pick(limit: int, *conditions: sa.ColumnElement[bool], order: sa.ColumnElement[Any] | None = None) -> sa.CTE:
    """Some jobs that meet conditions and that nobody else has locked.

    order: the first column of the index that serves the conditions. An order makes the planner take that index even
    where its statistics are old.
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


def _unwanted(waiting: sa.ColumnElement[bool]) -> dict[str, Any]:
    return {
        "status": sa.case((waiting, JobStatus.CANCELLED), else_=jobs.c.status),
        "finished_at": sa.case((waiting, NOW)),
        "cancel_requested_at": NOW,
        "version": jobs.c.version + 1,
    }


def _stopped_or_asked(moved: sa.CTE) -> sa.ColumnElement[str]:
    return sa.case((in_status(JobStatus.CANCELLED, of=moved), "job.cancelled"), else_="job.cancel_requested")


def _seconds(amount: sa.ColumnElement[float]) -> sa.ColumnElement[Any]:
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, amount)


def _held(job_id: str | sa.ColumnElement[str], lease: UUID | sa.ColumnElement[UUID]) -> sa.Update:
    """The fence: only the holder of the current lease moves a running job."""
    return sa.update(jobs).where(jobs.c.id == job_id, in_status(JobStatus.IN_PROGRESS), jobs.c.lease == lease)


_NO_LEASE: dict[str, Any] = {
    "lease": None,
    "lease_expires_at": None,
    "attempt_deadline": None,
    "worker": None,
}


def _ended(status: Any) -> dict[str, Any]:
    return {"status": status, "finished_at": NOW, "version": jobs.c.version + 1, **_NO_LEASE}


def _give_back(
    update: sa.Update,
    reason: str,
    *,
    exhausted: sa.ColumnElement[bool],
    error: GenerationError,
    **values: Any,
) -> sa.Select[Any]:
    """in_progress -> queued; or cancelled if its owner wishes so; or failed with `error` if it is `exhausted`."""
    unwanted = jobs.c.cancel_requested_at.is_not(None)
    failed = sa.and_(~unwanted, exhausted)
    moved = (
        update.values(
            status=sa.case((unwanted, JobStatus.CANCELLED), (exhausted, JobStatus.FAILED), else_=JobStatus.QUEUED),
            finished_at=sa.case((sa.or_(unwanted, exhausted), NOW)),
            error_code=sa.case((failed, error.code)),
            error_message=sa.case((failed, error.message)),
            version=jobs.c.version + 1,
            **_NO_LEASE,
            **values,
        )
        .returning(*JOB_COLUMNS)
        .cte("moved")
    )
    queued = in_status(JobStatus.QUEUED, of=moved)
    event_type = sa.case((queued, "job.requeued"), else_=sa.literal("job.") + moved.c.status)
    return with_event(moved, event_type, reason=reason)


_GIVEN = tuple(name for name in NewJob.__slots__ if name != "ttl")


def _as_json(number: int, job: NewJob) -> dict[str, Any]:
    values = {name: getattr(job, name) for name in _GIVEN}
    return {**values, "parameters": job.parameters.dump(), "number": number, "ttl": job.ttl.total_seconds()}


def _submit() -> sa.Select[Any]:
    """The statement of `submit`, its values left open: one JSON array, whatever the number of jobs."""
    new = _rows_of(
        "new",
        *(sa.column(name, jobs.c[name].type) for name in _GIVEN),
        sa.column("number", sa.Integer),
        sa.column("ttl", sa.Double),
    )
    # Where each flow stands is looked up once, not for each of its jobs; these stand behind each other from there,
    # as if they had come one by one.
    flow = sa.select(new.c.queue, new.c.project_id, new.c.priority).distinct().subquery("flow")
    standing = fairness.precedence(flow.c.priority, batch=False)
    started = (
        sa.select(flow, fairness.start(flow.c.queue, flow.c.project_id, standing).label("start"))
        .cte("started")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    of_flow = sa.and_(*(new.c[name] == started.c[name] for name in ("queue", "project_id", "priority")))
    up_to = sa.func.sum(new.c.cost).over(
        partition_by=(new.c.queue, new.c.project_id, new.c.priority), order_by=new.c.number
    )
    return with_event(
        sa.insert(jobs)
        .from_select(
            [*_GIVEN, *LEGACY_COLUMNS, "status", "fair_rank", "expires_at"],
            sa.select(
                *(new.c[name] for name in _GIVEN),
                *legacy_values(new.c.parameters),
                sa.literal(JobStatus.QUEUED),
                started.c.start + up_to,
                NOW + _seconds(new.c.ttl),
            )
            .join_from(new, started, of_flow)
            .order_by(new.c.number),
        )
        .returning(*JOB_COLUMNS)
        .cte("moved"),
        "job.queued",
    )


def _rows_of(name: str, *columns: sa.ColumnClause[Any]) -> sa.TableValuedAlias:
    """A JSON array of objects, bound as parameter `name`, as rows."""
    array = sa.cast(sa.bindparam(name, type_=JSONB), JSONB)
    return sa.func.jsonb_to_recordset(array).table_valued(*columns).render_derived(name=name, with_types=True)


def _complete() -> sa.Select[Any]:
    """The statement of `complete`, its values left open."""
    held = _held(sa.bindparam("held_id", type_=sa.Text), sa.bindparam("held_lease", type_=sa.Uuid))
    warnings = sa.cast(sa.bindparam("given_warnings", type_=JSONB), JSONB)
    done = held.values(_ended(JobStatus.COMPLETED) | {"warnings": warnings}).returning(*JOB_COLUMNS).cte("moved")
    named = _rows_of("stored", *(sa.column(name, images.c[name].type) for name in StoredImage.__annotations__))
    kept = (
        sa.insert(images)
        .from_select(
            ["job_id", "project_id", *(column.name for column in named.c)],
            sa.select(done.c.id, done.c.project_id, *named.c).select_from(sa.join(done, named, sa.true())),
        )
        .cte("kept")
    )
    return with_event(done, "job.completed").add_cte(kept)


# Built once, as every job runs both: to build one takes longer than to run it (docs/05-performance.md).
_SUBMIT = _submit()
_COMPLETE = _complete()
