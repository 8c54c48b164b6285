"""The spans of a job in a worker: its wait in the queue, its time on the device, and the storing of its images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from core import tracing
from core.rows import JobRow


def record_generation(jobs: Sequence[JobRow], began: datetime) -> None:
    """Record the wait of jobs until now, and their time on the device, which they shared."""
    if not tracing.is_on():
        return
    end = datetime.now(UTC)
    for job in jobs:
        ids: tracing.Attributes = {
            "safelight.job_id": job.id,
            "safelight.model": job.model,
            "safelight.attempt": job.attempts,
        }
        tracing.record("queue", job.traceparent, max(job.created_at, job.not_before), job.started_at or began, ids)
        tracing.record("generate", job.traceparent, began, end, {**ids, "safelight.microbatch_jobs": len(jobs)})


@contextmanager
def storage_span(job: JobRow) -> Iterator[None]:
    """Record the time of the block, in which a job's images are encoded and stored."""
    if not tracing.is_on():
        yield
        return
    began = datetime.now(UTC)
    try:
        yield
    finally:
        tracing.record("store", job.traceparent, began, datetime.now(UTC), {"safelight.job_id": job.id})
