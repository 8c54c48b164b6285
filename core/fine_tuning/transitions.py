"""The verbs of a fine-tuning job: submit, claim, renew, accept, record, save, succeed, fail, cancel, release.

Each function builds one SQL statement, as in `core.jobs`. The statement also inserts the events.
docs/11-fine-tuning.md has the chart of the statuses.

A worker's writes need the token of its lease. A job whose worker died stays in its status, and another worker claims it
when the lease has expired; a training then goes on from its last saved state.

Each write of a worker that trains adds the time since the one before to the job's device-seconds. So a worker that is
killed has used what it had until its last renewal. The end of a job that was started appends an entry of usage.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore

from core.clock import NOW
from core.db import Statement
from core.fine_tuning.rows import FineTuningJobRow
from core.ids import new_id
from core.reports import usage
from core.status import FINE_TUNING_FINAL, FineTuningStatus
from core.tables import fine_tuned_models as models
from core.tables import fine_tuning_events as events
from core.tables import fine_tuning_jobs as jobs
from core.tables import in_status


@dataclass(frozen=True, slots=True)
class NewFineTuningJob:
    """A checked request for a fine-tuning job."""

    project_id: str
    model: str
    training_file: str
    seed: int
    request: Mapping[str, Any]
    suffix: str | None = None
    validation_file: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[Mapping[str, Any]] = ()
    api_key_id: str | None = None
    cost: float = 0.0  # estimated device-seconds
    id: str = field(default_factory=lambda: new_id("ftjob", "-"))


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event of a job."""

    message: str
    level: Literal["info", "warn", "error"] = "info"
    type: Literal["message", "metrics"] = "message"
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewModel:
    """A model whose LoRA is in storage. checkpoint_id: None for the model at the end of the training."""

    id: str
    step: int
    metrics: Mapping[str, float]
    storage_key: str
    bytes: int
    sha256: str
    checkpoint_id: str | None = None


def submit(new: NewFineTuningJob, max_open: int) -> Statement[FineTuningJobRow]:
    """Insert a job. No row is returned if the project already has `max_open` jobs that are not final."""
    names = [name for name in NewFineTuningJob.__slots__ if name != "warnings"]
    open_count = (
        sa.select(sa.func.count())
        .select_from(jobs)
        .where(jobs.c.project_id == new.project_id, ~in_status(*FINE_TUNING_FINAL, of=jobs))
        .scalar_subquery()
    )
    values = [
        *(sa.literal(getattr(new, name), jobs.c[name].type) for name in names),
        sa.literal(list(new.warnings), JSONB),
        sa.literal(FineTuningStatus.VALIDATING_FILES, sa.Text),
    ]
    insert = sa.insert(jobs).from_select(
        [*names, "warnings", "status"], sa.select(*values).where(open_count < max_open)
    )
    return _with_events(
        insert.returning(*jobs.c),
        NewEvent(f"Created fine-tuning job: {new.id}"),
        NewEvent(f"Validating training file: {new.training_file}"),
        *(NewEvent(warning["message"], "warn") for warning in new.warnings),
    )


def claim(lease: UUID, worker: str, length: timedelta) -> Statement[FineTuningJobRow]:
    """Claim a job that is not final and has no valid lease. `lease` is a new token. A queued one is running then.

    Jobs with fewer attempts come first, so that one that ends its worker delays no other; then those of projects that
    have no training under a lease; then the oldest.
    """
    return Statement(
        _CLAIM,
        FineTuningJobRow,
        {"lease": lease, "worker": worker, "length": length, "event_id": new_id("ftevent", "-")},
    )


def _claim() -> sa.Select[Any]:
    """The statement of `claim`, with bind parameters."""
    other = jobs.alias("other")
    is_busy = sa.select(other.c.id).where(
        other.c.project_id == jobs.c.project_id,
        ~in_status(*FINE_TUNING_FINAL, of=other),
        other.c.lease_expires_at > NOW,
    )
    pick = (
        sa.select(jobs.c.id, jobs.c.status.label("earlier_status"))
        .where(~in_status(*FINE_TUNING_FINAL, of=jobs), sa.or_(jobs.c.lease.is_(None), jobs.c.lease_expires_at <= NOW))
        .order_by(jobs.c.attempts, is_busy.correlate(jobs).exists(), jobs.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    is_queued = pick.c.earlier_status == FineTuningStatus.QUEUED
    update = (
        sa.update(jobs)
        .where(jobs.c.id == pick.c.id)
        .values(
            lease=sa.bindparam("lease", type_=sa.Uuid),
            lease_expires_at=NOW + sa.bindparam("length", type_=sa.Interval),
            worker=sa.bindparam("worker", type_=sa.Text),
            attempts=jobs.c.attempts + 1,
            status=sa.case((is_queued, sa.literal(FineTuningStatus.RUNNING, sa.Text)), else_=jobs.c.status),
            started_at=sa.case((is_queued, NOW), else_=jobs.c.started_at),
            counted_until=sa.case((in_status(FineTuningStatus.QUEUED, FineTuningStatus.RUNNING, of=jobs), NOW)),
        )
        .returning(*jobs.c)
        .cte("updated")
    )
    started = (
        sa.insert(events)
        .from_select(
            ["id", "fine_tuning_job_id", "project_id", "level", "type", "message"],
            sa.select(
                *(sa.bindparam("event_id", type_=sa.Text), update.c.id, update.c.project_id),
                *(sa.literal("info"), sa.literal("message"), sa.literal("Fine-tuning job started")),
            )
            .select_from(update.join(pick, update.c.id == pick.c.id))
            .where(is_queued),
        )
        .cte("events")
    )
    return sa.select(update).add_cte(started)


_CLAIM = _claim()  # built once: a training worker that waits would spend most of its time on it


def renew(job_id: str, lease: UUID, length: timedelta) -> Statement[str]:
    """Extend the lease by `length`. No row is returned if the job was cancelled or the lease was lost."""
    update = (
        _of_lease(job_id, lease).where(jobs.c.lease_expires_at > NOW).values(lease_expires_at=NOW + length, **_TIME)
    )
    return Statement(update.returning(jobs.c.id), str)


def accept(
    job_id: str, lease: UUID, *, images: int, hyperparameters: Mapping[str, Any], cost: float
) -> Statement[FineTuningJobRow]:
    """The training file is valid: the job waits for a worker, maybe the same. cost: estimated device-seconds."""
    update = _of_lease(job_id, lease).where(in_status(FineTuningStatus.VALIDATING_FILES, of=jobs))
    values = {
        "images": images,
        "hyperparameters": dict(hyperparameters),
        "cost": cost,
        "status": FineTuningStatus.QUEUED,
    }
    return _with_events(
        update.values(**values, **_NO_LEASE, attempts=0).returning(*jobs.c),
        NewEvent("Files validated, moving job to queued state"),
    )


def record(job_id: str, lease: UUID, step: int, *new_events: NewEvent) -> Statement[FineTuningJobRow]:
    """Record how far a training is, with its events. No row is returned if the lease was lost."""
    return _with_events(_running(job_id, lease).values(step=step, **_TIME).returning(*jobs.c), *new_events)


def save(
    job_id: str, lease: UUID, *, step: int, state_key: str, checkpoint: NewModel | None, event: NewEvent | None
) -> Statement[FineTuningJobRow]:
    """The state after a step is in storage, and perhaps a checkpoint with its own model. Attempts count from here."""
    update = _running(job_id, lease).values(step=step, state_step=step, state_key=state_key, attempts=0, **_TIME)
    new_events = () if event is None else (event,)
    return _with_events(update.returning(*jobs.c), *new_events, model=checkpoint)


def succeed(job_id: str, lease: UUID, model: NewModel) -> Statement[FineTuningJobRow]:
    """The training is done, and its LoRA is in storage."""
    values = {
        "status": FineTuningStatus.SUCCEEDED,
        "finished_at": NOW,
        "step": model.step,
        "fine_tuned_model": model.id,
    }
    return _with_events(
        _running(job_id, lease).values(**values, **_TIME | _NO_LEASE, **_NO_STATE).returning(*jobs.c),
        NewEvent(f"New fine-tuned model created: {model.id}"),
        NewEvent("The job has successfully completed"),
        model=model,
        is_end=True,
    )


def fail(job_id: str, lease: UUID, error: Mapping[str, Any], *line_errors: NewEvent) -> Statement[FineTuningJobRow]:
    """The file is not valid, or the training cannot go on. line_errors: events about lines of the file."""
    values = {"status": FineTuningStatus.FAILED, "finished_at": NOW, "error": dict(error)}
    update = _of_lease(job_id, lease).where(~in_status(*FINE_TUNING_FINAL, of=jobs))
    return _with_events(
        update.values(**values, **_TIME | _NO_LEASE, **_NO_STATE).returning(*jobs.c),
        *line_errors,
        NewEvent(f"The job failed: {error['message']}", "error"),
        is_end=True,
    )


def cancel(project_id: str, job_id: str) -> Statement[FineTuningJobRow]:
    """Cancel a job; a worker stops at its next step. No row is returned if it does not exist or is final."""
    update = sa.update(jobs).where(
        jobs.c.id == job_id, jobs.c.project_id == project_id, ~in_status(*FINE_TUNING_FINAL, of=jobs)
    )
    return _with_events(_cancelled(update), NewEvent("The job was cancelled"), is_end=True)


def cancel_jobs(*conditions: sa.ColumnElement[bool]) -> Statement[str]:
    """Cancel all jobs that meet the conditions and are not final, for an erasure."""
    update = _cancelled(sa.update(jobs).where(*conditions, ~in_status(*FINE_TUNING_FINAL, of=jobs))).cte("updated")
    return Statement(sa.select(update.c.id).add_cte(usage.of_trainings(update)), str)


def release(job_id: str, lease: UUID, length: timedelta) -> Statement[str]:
    """Take back the attempt of a claim that was interrupted. The job can be claimed again after `length`."""
    attempts = sa.func.greatest(jobs.c.attempts - 1, 0)
    values = _TIME | {"attempts": attempts, "lease_expires_at": NOW + length, "counted_until": None}
    update = _of_lease(job_id, lease).values(values)
    return Statement(update.returning(jobs.c.id), str)


_SECONDS = sa.cast(sa.extract("epoch", NOW - jobs.c.counted_until), sa.Double)
_TIME: dict[str, Any] = {
    "device_seconds": jobs.c.device_seconds + sa.func.coalesce(sa.func.greatest(_SECONDS, 0.0), 0.0),
    "counted_until": sa.case((jobs.c.counted_until.is_not(None), NOW)),
}
"""For a write of the worker, which has trained until now. Nothing is added while no worker trains the job."""
_NO_LEASE: dict[str, Any] = {"lease": None, "lease_expires_at": None, "counted_until": None}
_NO_STATE: dict[str, Any] = {"state_key": None, "state_step": None}


def _cancelled(update: sa.Update) -> Any:
    """The state goes with the job's other objects, or as an object without a row."""
    # A worker whose lease has expired is dead, so its time ended with its last renewal.
    used_seconds = sa.case((jobs.c.lease_expires_at > NOW, _TIME["device_seconds"]), else_=jobs.c.device_seconds)
    values = {"status": FineTuningStatus.CANCELLED, "finished_at": NOW, "device_seconds": used_seconds}
    return update.values(**values, **_NO_LEASE, **_NO_STATE).returning(*jobs.c)


def _of_lease(job_id: str, lease: UUID) -> sa.Update:
    return sa.update(jobs).where(jobs.c.id == job_id, jobs.c.lease == lease)


def _running(job_id: str, lease: UUID) -> sa.Update:
    return _of_lease(job_id, lease).where(in_status(FineTuningStatus.RUNNING, of=jobs))


def _with_events(
    change: Any, *new_events: NewEvent, model: NewModel | None = None, is_end: bool = False
) -> Statement[FineTuningJobRow]:
    """A change of a job, with its events, a model, and at its end its usage, for the row that it returns."""
    updated = change.cte("updated")
    ctes = [_insert_events(updated, new_events)] if new_events else []
    if is_end:
        ctes.append(usage.of_trainings(updated, 0 if model is None else model.bytes))
    if model is not None:
        values = {name: sa.literal(getattr(model, name), models.c[name].type) for name in NewModel.__slots__}
        values |= {name: updated.c[name] for name in ("project_id", "model")}
        values["fine_tuning_job_id"] = updated.c.id
        insert = insert_or_ignore(models).from_select(list(values), sa.select(*values.values()).select_from(updated))
        # A training that began anew makes the same checkpoint again.
        ctes.append(insert.on_conflict_do_nothing(index_elements=[models.c.id]).cte("new_model"))
    return Statement(sa.select(updated).add_cte(*ctes), FineTuningJobRow)


def _insert_events(updated: sa.CTE, new_events: Sequence[NewEvent]) -> sa.CTE:
    """In one statement, since several of one query run in any order."""
    names = ("id", "fine_tuning_job_id", "project_id", "level", "type", "message", "data")
    rows = sa.union_all(
        *(
            sa.select(
                sa.literal(number).label("number"),
                sa.literal(new_id("ftevent", "-")).label("id"),
                updated.c.id.label("fine_tuning_job_id"),
                updated.c.project_id,
                sa.literal(event.level).label("level"),
                sa.literal(event.type).label("type"),
                sa.literal(event.message).label("message"),
                sa.literal(dict(event.data), JSONB).label("data"),
            )
            for number, event in enumerate(new_events)
        )
    ).subquery("new_events")
    in_order = sa.select(*(rows.c[name] for name in names)).order_by(rows.c.number)
    return sa.insert(events).from_select(list(names), in_order).cte("event")
