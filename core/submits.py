"""The transition `submit`, which inserts jobs as `queued`; see `core/jobs.py`, which has the others.

A job with a project priority has a statement of its own, as others stand back for it (`core/priorities.py`). The
jobs of a project or key with a limit are inserted if what they will use fits (`core/limits.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from core import fairness, limits, priorities
from core.clock import NOW
from core.db import Statement
from core.events import with_event
from core.limits import Amount, Subject
from core.new_job import NewJob
from core.rows.job import JobRow
from core.rows.webhook import WebhookJson
from core.status import JobStatus
from core.tables import JOB_COLUMNS, LEGACY_COLUMNS, jobs, legacy_values


def submit(*new_jobs: NewJob) -> Statement[JobRow]:
    """Queue jobs, all or none, and return their rows in no particular order. A repeated id is an integrity error.

    Raises ValueError for a job with a project priority among others: some of these may have to stand back for it.
    """
    if any(job.project_priority for job in new_jobs):
        (job,) = new_jobs
        return Statement(_submit_before_others(job).params(new_jobs=[_as_json(0, job)]), JobRow)
    new_rows = [_as_json(number, job) for number, job in enumerate(new_jobs)]
    return Statement(_SUBMIT, JobRow, {"new_jobs": new_rows}, _completion(new_jobs))


_INSERT_COLUMNS = tuple(name for name in NewJob.__slots__ if name != "ttl")


_EVENT_COLUMNS = ("status", "attempts", "error_code")
"""What the event of a new job is made of."""


def _as_json(number: int, job: NewJob) -> dict[str, Any]:
    values = {name: getattr(job, name) for name in _INSERT_COLUMNS}
    return {**values, "parameters": job.parameters.dump(), "number": number, "ttl": job.ttl.total_seconds()}


def submit_within_limits(new_jobs: Sequence[NewJob], subjects: Sequence[Subject], amount: Amount) -> Statement[JobRow]:
    """`submit`, if what the jobs will use fits into the limits of subjects. No row: see `limits.reservation`.

    new_jobs: none has a project priority.
    """
    values = limits.reserve_values(subjects, amount)
    new_rows = [_as_json(number, job) for number, job in enumerate(new_jobs)]
    return Statement(_SUBMIT_WITHIN_LIMITS, JobRow, {"new_jobs": new_rows, **values}, _completion(new_jobs))


_DATABASE_COLUMNS = ("id", "version", "precedence", "fair_rank", "not_before", "expires_at", "created_at")
"""What the database adds to a new job, after its id. The rest of its row is known before."""

_ABSENT = (
    "batch_id", "batch_index", "custom_id", "response_format", "lease", "lease_expires_at", "attempt_deadline",
    "worker", "cancel_requested_at", "error_code", "error_message", "moderation", "started_at", "finished_at",
)  # fmt: skip
_FIRST_VALUES: dict[str, Any] = dict.fromkeys(_ABSENT) | {
    "status": str(JobStatus.QUEUED), "attempts": 0, "failures": 0, "crashes": 0,
}  # fmt: skip
_NEW_VALUES = tuple(name for name in _INSERT_COLUMNS if name not in ("id", "metadata", "webhook", "warnings"))


def _completion(new_jobs: Sequence[NewJob]) -> Callable[[Mapping[str, Any]], JobRow]:
    """Makes the row of a new job from what the database has added."""
    by_id = {job.id: job for job in new_jobs}

    def complete(database_values: Mapping[str, Any]) -> JobRow:
        job = by_id[database_values["id"]]
        values: dict[str, Any] = {name: getattr(job, name) for name in _NEW_VALUES}
        return JobRow(
            **_FIRST_VALUES,
            **database_values,
            **values,
            metadata=dict(job.metadata),
            webhook=cast(WebhookJson | None, job.webhook),
            warnings=[dict(warning) for warning in job.warnings],
        )

    return complete


def _new_jobs() -> sa.TableValuedAlias:
    """The jobs of `submit` as rows."""
    return json_rows(
        "new_jobs",
        *(sa.column(name, jobs.c[name].type) for name in _INSERT_COLUMNS),
        sa.column("number", sa.Integer),
        sa.column("ttl", sa.Double),
    )


def _insert_of(
    new_jobs: sa.TableValuedAlias,
    source: sa.FromClause,
    rank: sa.ColumnElement[float],
    *conditions: sa.ColumnElement[bool],
) -> sa.Insert:
    return sa.insert(jobs).from_select(
        [*_INSERT_COLUMNS, *LEGACY_COLUMNS, "status", "fair_rank", "expires_at"],
        sa.select(
            *(new_jobs.c[name] for name in _INSERT_COLUMNS),
            *legacy_values(new_jobs.c.parameters),
            sa.literal(JobStatus.QUEUED, sa.Text),
            rank,
            NOW + seconds(new_jobs.c.ttl),
        )
        .select_from(source)
        .where(*conditions)
        .order_by(new_jobs.c.number),
    )


def _submit_before_others(job: NewJob) -> sa.Select[Any]:
    """The statement of `submit` for a job with a project priority, without the job itself."""
    new_jobs = _new_jobs()
    precedence = fairness.precedence(job.priority, batch=False)
    start, room = priorities.make_room(
        job.queue, job.project_id, precedence, job.project_priority, cost=job.cost, limit=priorities.PLACES
    )
    insert = _insert_of(new_jobs, new_jobs, start + new_jobs.c.cost)
    return with_event(update_cte(insert), "job.queued").add_cte(room)


def _submit(reserved_use: sa.CTE | None = None) -> sa.Select[Any]:
    """The statement of `submit`, without its values: one JSON array, for any number of jobs.

    reserved_use: nothing is inserted if it has no row.
    """
    new_jobs = _new_jobs()
    # The start of each flow is read once, not once per job. The ranks of its jobs follow from there by their cost, as
    # if they had been submitted one by one.
    flow = sa.select(new_jobs.c.queue, new_jobs.c.project_id, new_jobs.c.priority).distinct().subquery("flow")
    flow_precedence = fairness.precedence(flow.c.priority, batch=False)
    flow_starts = (
        sa.select(flow, fairness.start(flow.c.queue, flow.c.project_id, flow_precedence).label("start"))
        .cte("flow_starts")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    is_same_flow = sa.and_(*(new_jobs.c[name] == flow_starts.c[name] for name in ("queue", "project_id", "priority")))
    cumulative_cost = sa.func.sum(new_jobs.c.cost).over(
        partition_by=(new_jobs.c.queue, new_jobs.c.project_id, new_jobs.c.priority), order_by=new_jobs.c.number
    )
    source = sa.join(new_jobs, flow_starts, is_same_flow)
    conditions = [] if reserved_use is None else [sa.exists().select_from(reserved_use)]
    insert = _insert_of(new_jobs, source, flow_starts.c.start + cumulative_cost, *conditions)
    new_rows = insert.returning(*(jobs.c[name] for name in (*_DATABASE_COLUMNS, *_EVENT_COLUMNS))).cte("updated_jobs")
    return with_event(new_rows, "job.queued").with_only_columns(*(new_rows.c[name] for name in _DATABASE_COLUMNS))


def json_rows(name: str, *columns: sa.ColumnClause[Any]) -> sa.TableValuedAlias:
    """The objects of a JSON array as rows. The array is bound as parameter `name`."""
    array = sa.cast(sa.bindparam(name, type_=JSONB), JSONB)
    return sa.func.jsonb_to_recordset(array).table_valued(*columns).render_derived(name=name, with_types=True)


def update_cte(update: sa.Update | sa.Insert) -> sa.CTE:
    """A statement as a CTE of the rows that it writes."""
    return update.returning(*JOB_COLUMNS).cte("updated_jobs")


def seconds(amount: sa.ColumnElement[float]) -> sa.ColumnElement[Any]:
    """An interval of so many seconds."""
    return sa.func.make_interval(0, 0, 0, 0, 0, 0, amount)


_SUBMIT = _submit()
_SUBMIT_WITHIN_LIMITS = _submit(limits.reserve())
"""Built once, because every job executes one of them (docs/05-performance.md)."""
