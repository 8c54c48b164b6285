"""Retention: which final jobs, batches and fine-tuning jobs are deleted, and when.

A job is kept until its batch has recorded its result. The caller deletes the objects of the images before the rows.
Files have their own expiry times (`core.files`).
"""

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from core.clock import STATEMENT_TIME
from core.db import Statement
from core.rows.job import OldJob
from core.status import BATCH_FINAL, FINAL, FINE_TUNING_FINAL
from core.tables import batches, fine_tuned_models, fine_tuning_jobs, images, in_status, jobs


def batch_is_recorded() -> sa.ColumnElement[bool]:
    """Whether the batch of a job has recorded its results, or the job has no batch."""
    under_way = sa.select(sa.literal(1)).where(batches.c.id == jobs.c.batch_id, batches.c.counts.is_(None))
    return ~under_way.correlate(jobs).exists()


def list_old_jobs(age: timedelta, limit: int) -> Statement[OldJob]:
    """Final jobs that finished longer ago than `age`, with the storage keys of their images."""
    keys = sa.func.array(sa.select(images.c.storage_key).where(images.c.job_id == jobs.c.id).scalar_subquery())
    is_old = in_status(*FINAL), jobs.c.finished_at <= STATEMENT_TIME - age, batch_is_recorded()
    statement = sa.select(jobs.c.id, keys.label("storage_keys")).where(*is_old)
    return Statement(statement.order_by(jobs.c.finished_at).limit(limit), OldJob)


def purge_jobs(job_ids: Sequence[str]) -> Statement[str]:
    """Delete final jobs past retention. The caller has deleted their objects before."""
    return Statement(sa.delete(jobs).where(jobs.c.id.in_(job_ids), in_status(*FINAL)).returning(jobs.c.id), str)


def purge_batches(age: timedelta, limit: int) -> Statement[str]:
    """Delete final batches past retention, `limit` at most. Their files and jobs have retention times of their own."""
    pick = (
        sa.select(batches.c.id)
        .where(
            in_status(*BATCH_FINAL, of=batches),
            batches.c.created_at <= STATEMENT_TIME - age,
        )
        .order_by(batches.c.created_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return Statement(sa.delete(batches).where(batches.c.id == pick.c.id).returning(batches.c.id), str)


def purge_fine_tuning_jobs(age: timedelta, limit: int) -> Statement[str]:
    """Delete final fine-tuning jobs past retention with their events, `limit` at most.

    A job stays as long as a model of it does. Objects that it left have no row, and the cleanup deletes them.
    """
    of_job = sa.select(fine_tuned_models.c.id).where(fine_tuned_models.c.fine_tuning_job_id == fine_tuning_jobs.c.id)
    pick = (
        sa.select(fine_tuning_jobs.c.id)
        .where(
            fine_tuning_jobs.c.status.in_(FINE_TUNING_FINAL),
            fine_tuning_jobs.c.finished_at <= STATEMENT_TIME - age,
            ~of_job.correlate(fine_tuning_jobs).exists(),
        )
        .order_by(fine_tuning_jobs.c.finished_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    delete = sa.delete(fine_tuning_jobs).where(fine_tuning_jobs.c.id == pick.c.id)
    return Statement(delete.returning(fine_tuning_jobs.c.id), str)
