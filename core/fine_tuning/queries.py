"""Statements that read fine-tuning jobs, events and models. `core.fine_tuning.transitions` changes jobs."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.db import Statement
from core.fine_tuning.rows import FineTunedModelRow, FineTuningEventRow, FineTuningJobRow
from core.tables import fine_tuned_models as models
from core.tables import fine_tuning_events as events
from core.tables import fine_tuning_jobs as jobs

MAX_MODELS = 1000
"""Models of a project in a list, the newest."""


def get_job(project_id: str, job_id: str) -> Statement[FineTuningJobRow]:
    """One job of a project."""
    return Statement(sa.select(jobs).where(jobs.c.id == job_id, jobs.c.project_id == project_id), FineTuningJobRow)


def list_jobs(
    project_id: str, *, limit: int, after: str | None = None, metadata: Mapping[str, str] | None = None
) -> Statement[FineTuningJobRow]:
    """Jobs, newest first. metadata: only jobs that have these entries; an empty one: only jobs without metadata."""
    statement = sa.select(jobs).where(jobs.c.project_id == project_id)
    if after is not None:
        statement = statement.where(jobs.c.id < after)
    if metadata is not None:
        is_hit = jobs.c.metadata.contains(dict(metadata)) if metadata else jobs.c.metadata == {}
        statement = statement.where(is_hit)
    return Statement(statement.order_by(jobs.c.id.desc()).limit(limit), FineTuningJobRow)


def list_events(job_id: str, *, limit: int, after: str | None = None) -> Statement[FineTuningEventRow]:
    """Events of a job, newest first. The caller has checked the project."""
    statement = sa.select(events).where(events.c.fine_tuning_job_id == job_id)
    if after is not None:
        last = sa.select(events.c.seq).where(events.c.id == after, events.c.fine_tuning_job_id == job_id)
        statement = statement.where(events.c.seq < last.scalar_subquery())
    return Statement(statement.order_by(events.c.seq.desc()).limit(limit), FineTuningEventRow)


def find_event(job_id: str, event_id: str) -> Statement[str]:
    """A row if a job has an event."""
    return Statement(sa.select(events.c.id).where(events.c.id == event_id, events.c.fine_tuning_job_id == job_id), str)


def list_checkpoints(job_id: str, *, limit: int, after: str | None = None) -> Statement[FineTunedModelRow]:
    """The models at the checkpoints of a job, the last first. The caller has checked the project."""
    of_job = models.c.fine_tuning_job_id == job_id, models.c.checkpoint_id.is_not(None)
    statement = sa.select(models).where(*of_job)
    if after is not None:
        last = sa.select(models.c.step).where(models.c.checkpoint_id == after, *of_job)
        statement = statement.where(models.c.step < last.scalar_subquery())
    return Statement(statement.order_by(models.c.step.desc()).limit(limit), FineTunedModelRow)


def find_checkpoint(job_id: str, checkpoint_id: str) -> Statement[str]:
    """A row if a job has a checkpoint."""
    is_it = models.c.checkpoint_id == checkpoint_id, models.c.fine_tuning_job_id == job_id
    return Statement(sa.select(models.c.id).where(*is_it), str)


def get_models(project_id: str, names: Collection[str]) -> Statement[FineTunedModelRow]:
    """The models of a project with these names, also those of checkpoints."""
    is_any = models.c.id == sa.any_(sa.literal(list(names), ARRAY(sa.Text)))
    return Statement(sa.select(models).where(models.c.project_id == project_id, is_any), FineTunedModelRow)


def get_models_of_all(names: Collection[str]) -> Statement[FineTunedModelRow]:
    """The models with these names, of whatever project: for operators."""
    return Statement(
        sa.select(models).where(models.c.id == sa.any_(sa.literal(list(names), ARRAY(sa.Text)))), FineTunedModelRow
    )


def list_models(project_id: str, *, checkpoints: bool = False) -> Statement[FineTunedModelRow]:
    """The models of a project, newest first. checkpoints: with those of checkpoints."""
    conditions: list[Any] = [models.c.project_id == project_id]
    if not checkpoints:
        conditions.append(models.c.checkpoint_id.is_(None))
    statement = sa.select(models).where(*conditions).order_by(models.c.created_at.desc())
    return Statement(statement.limit(MAX_MODELS), FineTunedModelRow)


def delete_model(project_id: str, name: str) -> Statement[FineTunedModelRow]:
    """Delete a model. The caller has deleted its object before."""
    statement = sa.delete(models).where(models.c.id == name, models.c.project_id == project_id)
    return Statement(statement.returning(*models.c), FineTunedModelRow)
