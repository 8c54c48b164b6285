"""Counts what happens to jobs, from the rows that the verbs return."""

from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from prometheus_client import Histogram

from core.rows.job import EndedJob, JobRow
from core.status import JobStatus
from core.telemetry import metrics

Row = TypeVar("Row", bound=EndedJob | JobRow)


def record_starts(rows: Sequence[JobRow]) -> None:
    """Count the jobs of one micro-batch, which a worker has claimed."""
    if rows:
        metrics.MICROBATCH_IMAGES.labels(rows[0].model).observe(sum(row.n for row in rows))
        metrics.JOBS_STARTED.labels(rows[0].model).inc(len(rows))


def record_ends(rows: Sequence[Row]) -> Sequence[Row]:
    """Count the jobs among rows that a verb has just changed that are final now. Returns the rows."""
    for row in rows:
        if JobStatus(row.status).is_final:
            _record_end(row)
    return rows


def _record_end(row: EndedJob | JobRow) -> None:
    metrics.JOBS_FINISHED.labels(row.model, row.status).inc()
    if row.status == JobStatus.FAILED:
        metrics.JOBS_FAILED.labels(row.model, row.error_code or "").inc()
    _observe(metrics.WAIT_SECONDS, row.model, row.created_at, row.started_at)
    _observe(metrics.RUN_SECONDS, row.model, row.started_at, row.finished_at)
    _observe(metrics.TOTAL_SECONDS, row.model, row.created_at, row.finished_at)


def _observe(histogram: Histogram, model: str, start: datetime | None, end: datetime | None) -> None:
    """Observe a time between two of the database's times. A job that never ran has no start."""
    if start is not None and end is not None:
        histogram.labels(model).observe(max(0.0, (end - start).total_seconds()))
