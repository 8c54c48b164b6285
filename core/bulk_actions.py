"""Cancels or retries all jobs that match a filter, some hundred at a time. See `core.requests.bulk`.

Each statement reads a bounded part of an index: to cancel, the jobs that wait or run, in the order of their queues,
projects and ranks, which only rise; to retry, those that ended without images, a status at a time in the order of
their ends.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.catalog import Catalog
from core.clock import NOW
from core.db import Statement
from core.errors import QueueDraining, SafelightError
from core.fine_tuning import queries
from core.fine_tuning.rows import FineTunedModelRow
from core.new_job import NewJob
from core.parameters.loras import is_fine_tuned
from core.requests.bulk import BulkAction, BulkToken, JobFilter, Position
from core.requests.plan import plan, request_of
from core.rows.job import JobRow
from core.settings import Settings
from core.status import BatchStatus, JobStatus
from core.submits import submit
from core.tables import JOB_COLUMNS, batches, equals_in_order, files, in_status, jobs

MAX_COUNTED = 100_000
"""Jobs of a status that a count reads."""

CANCEL_JOBS = 500
"""Jobs that a step cancels."""

RETRY_JOBS = 200
"""Jobs that a step submits again."""

READ_JOBS = 5000
"""Jobs among which a step looks for those to cancel or retry."""

_COLUMNS = ("id", "project_id", "error_code", "model", "queue", "batch_id", "metadata", "created_at", "finished_at")


@dataclass(slots=True)
class BulkCount:
    """How many jobs match, whether all were read, and the database's time."""

    jobs: int
    is_exact: bool
    now: datetime


@dataclass(slots=True)
class OpenJob:
    """A job that waits or runs, and its position. is_match: it matches the filter and was counted."""

    id: str
    queue: str
    project_id: str
    precedence: int
    fair_rank: float
    is_match: bool

    @property
    def position(self) -> Position:
        """For the token of the next step."""
        return self.queue, self.project_id, self.precedence, self.fair_rank, self.id


@dataclass(slots=True)
class EndedJob:
    """A job that ended without images. is_match: it matches the filter and was not retried yet."""

    id: str
    finished_at: datetime
    is_match: bool


def count(action: BulkAction, selection: JobFilter, counted_jobs: int = MAX_COUNTED) -> Statement[BulkCount]:
    """Count the jobs that match, among at most counted_jobs of each status. Raises InvalidParameter."""
    parts = []
    for status in selection.statuses(action):
        conditions = [in_status(JobStatus(status)), *_index_conditions(action, selection)]
        order = jobs.c.finished_at.desc() if action == "retry" else jobs.c.queue
        columns = (jobs.c[name] for name in _COLUMNS)
        part = sa.select(*columns).where(*conditions).order_by(order).limit(counted_jobs)
        parts.append(part.cte(f"read_{status}").prefix_with("MATERIALIZED", dialect="postgresql"))
    read = sa.union_all(*(sa.select(part) for part in parts)).subquery("read")
    matches = sa.select(sa.func.count()).select_from(read).where(*_conditions(action, selection, read))
    sizes = (sa.select(sa.func.count()).select_from(part).scalar_subquery() for part in parts)
    return Statement(
        sa.select(
            matches.scalar_subquery().label("jobs"),
            sa.and_(*(size < counted_jobs for size in sizes)).label("is_exact"),
            NOW.label("now"),
        ),
        BulkCount,
    )


def list_open(token: BulkToken, read_jobs: int = READ_JOBS) -> Statement[OpenJob]:
    """The next read_jobs jobs that wait or run, in the order of their positions."""
    columns = [jobs.c.queue, jobs.c.project_id, jobs.c.precedence, jobs.c.fair_rank, jobs.c.id]
    statuses = [JobStatus(status) for status in token.filter.statuses("cancel")]
    conditions = [in_status(*statuses), *_index_conditions("cancel", token.filter)]
    if token.position is not None:
        values = (sa.literal(value, column.type) for value, column in zip(token.position, columns, strict=True))
        conditions += [jobs.c.queue >= token.position[0], sa.tuple_(*columns) > sa.tuple_(*values)]
    read = (
        sa.select(*(jobs.c[name] for name in (*_COLUMNS, "precedence", "fair_rank")))
        .where(*conditions)
        .order_by(*columns)
        .limit(read_jobs)
        .cte("read")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    is_match = sa.and_(read.c.created_at <= token.until, *_conditions("cancel", token.filter, read))
    order = [read.c[column.name] for column in columns]
    return Statement(sa.select(*order, is_match.label("is_match")).order_by(*order), OpenJob)


def next_cancel(
    token: BulkToken, read: Sequence[OpenJob], read_jobs: int = READ_JOBS
) -> tuple[list[str], BulkToken | None]:
    """The jobs to cancel among those that were read, and the token of the next step; None: this is the last one."""
    job_ids: list[str] = []
    for row in read:
        if row.is_match:
            job_ids.append(row.id)
        if len(job_ids) == CANCEL_JOBS:
            return job_ids, token.model_copy(update={"position": row.position})
    following = token.model_copy(update={"position": read[-1].position}) if len(read) == read_jobs else None
    return job_ids, following


def list_ended(token: BulkToken) -> Statement[EndedJob]:
    """The next READ_JOBS jobs of the token's status, in the order of their ends."""
    position = sa.tuple_(jobs.c.finished_at, jobs.c.id)
    status = token.status or token.filter.statuses("retry")[0]
    conditions = [in_status(JobStatus(status)), jobs.c.finished_at <= token.until]
    if token.after is not None:
        end, job_id = token.after
        last = sa.tuple_(sa.literal(end, sa.DateTime(timezone=True)), sa.literal(job_id))
        conditions += [jobs.c.finished_at >= end, position > last]
    read = (
        sa.select(*(jobs.c[name] for name in _COLUMNS))
        .where(*conditions, *_index_conditions("retry", token.filter))
        .order_by(jobs.c.finished_at, jobs.c.id)
        .limit(READ_JOBS)
        .cte("read")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    is_match = sa.and_(sa.true(), *_conditions("retry", token.filter, read))
    return Statement(
        sa.select(read.c.id, read.c.finished_at, is_match.label("is_match")).order_by(read.c.finished_at, read.c.id),
        EndedJob,
    )


def next_token(token: BulkToken, read: Sequence[EndedJob]) -> tuple[list[str], BulkToken | None]:
    """The jobs to retry among those that were read, and the token of the next step; None: this is the last one."""
    job_ids: list[str] = []
    for row in read:
        if row.is_match:
            job_ids.append(row.id)
        if len(job_ids) == RETRY_JOBS:
            return job_ids, token.model_copy(update={"after": (row.finished_at, row.id)})
    if len(read) == READ_JOBS:
        return job_ids, token.model_copy(update={"after": (read[-1].finished_at, read[-1].id)})
    statuses = token.filter.statuses("retry")
    following = statuses[statuses.index(token.status or statuses[0]) + 1 :]
    return job_ids, token.model_copy(update={"status": following[0], "after": None}) if following else None


def list_jobs(job_ids: Sequence[str]) -> Statement[JobRow]:
    """Jobs by their ids."""
    return Statement(sa.select(*JOB_COLUMNS).where(_is_any_of(jobs.c.id, job_ids)), JobRow)


def list_inputs(rows: Sequence[JobRow]) -> Statement[str]:
    """The ids of the input images of jobs that still exist."""
    input_ids = sorted({file_id for row in rows for file_id in row.inputs.values()})
    return Statement(sa.select(files.c.id).where(_is_any_of(files.c.id, input_ids)), str)


def list_fine_tuned(rows: Sequence[JobRow]) -> Statement[FineTunedModelRow]:
    """The fine-tuned models of jobs that still exist."""
    loras = [lora.name for row in rows for lora in row.parameters.loras or ()]
    return queries.get_models_of_all(sorted({name for name in loras if is_fine_tuned(name)}))


def plan_retries(
    rows: Sequence[JobRow],
    input_ids: Collection[str],
    draining_queues: Collection[str],
    fine_tuned_models: Sequence[FineTunedModelRow],
    catalog: Catalog,
    settings: Settings,
) -> tuple[list[NewJob], Counter[str]]:
    """The new jobs, in the project and with the key of the old ones; and by reason, how many cannot be retried.

    input_ids: what `list_inputs` has returned. draining_queues: those that accept no jobs. fine_tuned_models: what
    `list_fine_tuned` has returned.
    """
    new_jobs: list[NewJob] = []
    skipped_jobs: Counter[str] = Counter()
    models_of_project: dict[str, dict[str, str]] = {}
    for model in fine_tuned_models:
        models_of_project.setdefault(model.project_id, {})[model.id] = model.model
    catalogs = {project_id: catalog.with_fine_tuned(models) for project_id, models in models_of_project.items()}
    for row in sorted(rows, key=lambda row: row.id):
        if not set(row.inputs.values()) <= set(input_ids):
            skipped_jobs["input_deleted"] += 1
            continue
        try:
            job = plan(
                request_of(row),
                catalogs.get(row.project_id, catalog),
                settings,
                row.project_id,
                inputs=row.inputs,
                api_key_id=row.api_key_id,
                retried_from=row.id,
            )
        except SafelightError as error:  # the model has left the catalogue, or allows less than it did
            skipped_jobs[error.code] += 1
            continue
        if job.queue in draining_queues:
            skipped_jobs[QueueDraining.code] += 1
        else:  # hundreds of jobs in the trace of the operator's request could not be read
            new_jobs.append(replace(job, traceparent=None))
    return new_jobs, skipped_jobs


def submits(new_jobs: Sequence[NewJob]) -> list[Statement[JobRow]]:
    """The statements that submit jobs: all in one, but a job with a project priority has its own."""
    plain = [job for job in new_jobs if not job.project_priority]
    statements = [submit(*plain)] if plain else []
    return statements + [submit(job) for job in new_jobs if job.project_priority]


def audit_data(token: BulkToken, changed_jobs: int) -> Mapping[str, Any]:
    """What the audit log says about a step."""
    return {"jobs": changed_jobs, "filter": token.filter.model_dump(exclude_defaults=True)}


def _index_conditions(action: BulkAction, selection: JobFilter) -> list[sa.ColumnElement[bool]]:
    """The conditions that the index of an action can search by."""
    conditions: list[sa.ColumnElement[bool]] = []
    if action == "cancel":
        if selection.queue is not None:
            conditions.append(equals_in_order(jobs.c.queue, selection.queue))
        return [*conditions, jobs.c.cancel_requested_at.is_(None)]
    if selection.created_after is not None:  # no job ends before it is created
        conditions.append(jobs.c.finished_at >= datetime.fromtimestamp(selection.created_after, UTC))
    return conditions


def _conditions(action: BulkAction, selection: JobFilter, table: Any) -> list[sa.ColumnElement[bool]]:
    """All conditions but that of the status."""
    conditions: list[sa.ColumnElement[bool]] = [
        table.c[name] == value
        for name in ("error_code", "model", "queue", "project_id", "batch_id")
        if (value := getattr(selection, name)) is not None
    ]
    if selection.metadata:
        conditions.append(table.c.metadata.contains(dict(selection.metadata)))
    if selection.created_after is not None:
        conditions.append(table.c.created_at > datetime.fromtimestamp(selection.created_after, UTC))
    if selection.created_before is not None:
        conditions.append(table.c.created_at < datetime.fromtimestamp(selection.created_before, UTC))
    if action == "retry":
        repetition = jobs.alias("repetition")
        conditions.append(~sa.exists().where(repetition.c.retried_from == table.c.id))
        if selection.batch_id is None:
            conditions.append(table.c.batch_id.is_(None))
        else:  # the owner has repeated all of its lines that failed as a batch; one that was refused has no lines
            repeats = batches.c.retried_from == selection.batch_id, batches.c.status != str(BatchStatus.FAILED)
            conditions.append(~sa.exists().where(*repeats))
    return conditions


def _is_any_of(column: sa.ColumnElement[str], values: Sequence[str]) -> sa.ColumnElement[bool]:
    return column == sa.any_(sa.literal(list(values), ARRAY(sa.Text)))
