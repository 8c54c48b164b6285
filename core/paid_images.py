"""Images that a provider was paid for wait in the database while the storage does not take them.

The worker saves them when the first try to store them fails. If it stops or dies then, the next worker that claims the
job stores them, and the provider is not called again. A row goes with its job, or soon after the job's end.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.db import Statement
from core.rows.job import PaidImages
from core.status import JobStatus
from core.tables import in_status, jobs, paid_images
from core.text import storable

MAX_JOB_BYTES = 256 * 2**20
"""Maximum bytes of the images of a job that are saved. OpenAI's largest answers have a tenth of it."""

MAX_JOBS = 1000
"""Maximum number of jobs whose images are saved, so that a long failure of the storage does not fill the database."""


def save(job_id: str, lease: UUID, files: Sequence[bytes], receipt: Mapping[str, Any]) -> Statement[str]:
    """Save the images of a job as PNG files. No row is returned if the lease is lost or MAX_JOBS is reached."""
    saved_jobs = sa.select(paid_images.c.job_id).where(paid_images.c.job_id != job_id).limit(MAX_JOBS).subquery()
    new = sa.select(
        jobs.c.id,
        sa.literal(list(files), paid_images.c.images.type),
        sa.literal(storable(receipt), paid_images.c.receipt.type),
    ).where(
        jobs.c.id == job_id,
        jobs.c.lease == lease,
        in_status(JobStatus.IN_PROGRESS),
        sa.select(sa.func.count()).select_from(saved_jobs).scalar_subquery() < MAX_JOBS,
    )
    new_row = insert(paid_images).from_select(["job_id", "images", "receipt"], new)
    upsert = new_row.on_conflict_do_update(index_elements=["job_id"], set_={"receipt": new_row.excluded.receipt})
    return Statement(upsert.returning(paid_images.c.job_id), str)


def read(job_id: str) -> Statement[PaidImages]:
    """The saved images of a job, if it has any."""
    columns = paid_images.c.images, paid_images.c.receipt
    return Statement(sa.select(*columns).where(paid_images.c.job_id == job_id), PaidImages)


def purge(limit: int) -> Statement[str]:
    """Delete up to `limit` saved answers of jobs that have ended."""
    is_alive = sa.exists().where(jobs.c.id == paid_images.c.job_id, in_status(JobStatus.QUEUED, JobStatus.IN_PROGRESS))
    pick = sa.select(paid_images.c.job_id).where(~is_alive).limit(limit).cte("pick")
    delete = sa.delete(paid_images).where(paid_images.c.job_id == pick.c.job_id)
    return Statement(delete.returning(paid_images.c.job_id), str)
