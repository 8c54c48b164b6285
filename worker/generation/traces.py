"""The spans of a job in a worker: its wait in the queue, its time on the device or at a provider, its storing.

The line of a batch gets a trace of its own for each attempt, which has a link to the span that read the batch: fifty
thousand jobs in one trace could not be read.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from core.generation import Reply
from core.rows.job import JobRow
from core.telemetry import tracing


def record_waits(jobs: Sequence[JobRow], began: datetime) -> None:
    """Record the wait of jobs until their attempt began. Later spans of a batch's line belong to this one."""
    if not tracing.is_on():
        return
    for job in jobs:
        is_line = job.batch_id is not None
        since, until = max(job.created_at, job.not_before), job.started_at or began
        context = tracing.record("queue", job.traceparent, since, until, ids_of(job), begins_trace=is_line)
        if is_line:
            job.traceparent = context


def record_generation(jobs: Sequence[JobRow], began: datetime) -> None:
    """Record the time of jobs on the device, which they shared."""
    if not tracing.is_on():
        return
    end = datetime.now(UTC)
    for job in jobs:
        count = {"safelight.microbatch_jobs": len(jobs)}
        tracing.record("generate", job.traceparent, began, end, {**ids_of(job), **count})


def record_call(job: JobRow, call_id: str, reply: Reply, began: datetime) -> None:
    """Record a call of a provider: its model and outcome, and nothing of its request."""
    attributes: dict[str, str | int | float] = {**ids_of(job), "safelight.call_id": call_id}
    attributes |= {"safelight.outcome": str(reply.outcome), "safelight.images": len(reply.images)}
    if reply.error is not None:
        attributes["error.type"] = reply.error.code
    tracing.record("provider call", job.traceparent, began, datetime.now(UTC), attributes, is_call=True)


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
        tracing.record("store", job.traceparent, began, datetime.now(UTC), ids_of(job))


def ids_of(job: JobRow) -> dict[str, str | int | float]:
    """The attributes that all spans of a job have."""
    ids: dict[str, str | int | float] = {
        "safelight.job_id": job.id,
        "safelight.model": job.model,
        "safelight.attempt": job.attempts,
    }
    return ids if job.batch_id is None else {**ids, "safelight.batch_id": job.batch_id}
