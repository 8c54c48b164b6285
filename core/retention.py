"""What goes when its time is over: jobs that ended, with their images; batches that ended.

A job whose batch has yet to write down how it ended stays until then. Objects go first, rows after: who calls sees to
that. Files have times of their own (`core.files`).
"""

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from core.clock import NOW
from core.db import Statement
from core.rows import OldJob
from core.status import BATCH_FINAL, FINAL
from core.tables import batches, images, in_status, jobs


def is_written_down() -> sa.ColumnElement[bool]:
    """Whether no batch has yet to write down how a job ended."""
    under_way = sa.select(sa.literal(1)).where(batches.c.id == jobs.c.batch_id, batches.c.counts.is_(None))
    return ~under_way.correlate(jobs).exists()


def list_old_jobs(age: timedelta, limit: int) -> Statement[OldJob]:
    """Jobs that ended longer ago than `age`, and where their images lie."""
    keys = sa.func.array(sa.select(images.c.storage_key).where(images.c.job_id == jobs.c.id).scalar_subquery())
    return Statement(
        (
            sa.select(jobs.c.id, keys.label("storage_keys"))
            .where(in_status(*FINAL), jobs.c.finished_at <= NOW - age, is_written_down())
            .limit(limit)
        ),
        OldJob,
    )


def purge_jobs(job_ids: Sequence[str]) -> Statement[str]:
    """Delete final jobs past retention. The caller has removed their objects first."""
    return Statement(sa.delete(jobs).where(jobs.c.id.in_(job_ids), in_status(*FINAL)).returning(jobs.c.id), str)


def purge_batches(age: timedelta) -> Statement[str]:
    """Delete final batches whose time is past; their files and jobs go by times of their own."""
    return Statement(
        (
            sa.delete(batches)
            .where(
                batches.c.status.in_([sa.literal_column(f"'{status}'", sa.Text) for status in BATCH_FINAL]),
                batches.c.created_at <= NOW - age,
            )
            .returning(batches.c.id)
        ),
        str,
    )
