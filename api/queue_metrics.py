"""The depth of the queues and the workers of each model as metrics.

A scrape asks the database, at most every few seconds."""

import asyncio
import logging
import time
from math import nan

from api.supervisor import metrics_directory
from core import workers
from core.catalog.file import CatalogFile
from core.db import DATABASE_ERROR, AsyncDatabase
from core.errors import first_line
from core.reports import queue_reports
from core.telemetry.metrics import MODEL_BYTES, MODEL_WORKERS, QUEUE_AGE_SECONDS, QUEUE_JOBS

log = logging.getLogger(__name__)

MAX_AGE_SECONDS = 5.0
"""How long the values are shown before they are read again."""

TIMEOUT_SECONDS = 5.0
"""Half of the time that Prometheus gives a scrape."""

_STATES = ("loaded", "loading", "unusable")


class QueueMetrics:
    """Sets the gauges of the queues of the catalogue."""

    def __init__(self, database: AsyncDatabase, catalog_file: CatalogFile) -> None:
        self._database = database
        self._catalog_file = catalog_file
        self._read_at: float | None = None
        self._lock = asyncio.Lock()

    async def refresh(self) -> None:
        """Read the queues if the values are old. Without an answer of the database, there are no values."""
        async with self._lock:
            if self._read_at is not None and time.monotonic() - self._read_at < MAX_AGE_SECONDS:
                return
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await self._read()
            except (DATABASE_ERROR, TimeoutError) as error:
                log.warning("no metrics of the queues: %s", first_line(error))
                self._hide_values()
            self._read_at = time.monotonic()

    def _hide_values(self) -> None:
        """Show no values. Those that several processes share cannot be removed; they are no numbers."""
        if metrics_directory() is None:
            QUEUE_JOBS.clear()
            QUEUE_AGE_SECONDS.clear()
            MODEL_WORKERS.clear()
            MODEL_BYTES.clear()
            return
        for queue in self._catalog_file.current().queues:
            QUEUE_JOBS.labels(queue, "queued").set(nan)
            QUEUE_JOBS.labels(queue, "in_progress").set(nan)
            QUEUE_AGE_SECONDS.labels(queue).set(nan)
        for model in _local_models(self._catalog_file):
            for state in _STATES:
                MODEL_WORKERS.labels(model, state).set(nan)
            MODEL_BYTES.labels(model).set(nan)

    async def _read(self) -> None:
        reports = {row.queue: row for row in await self._database.execute(queue_reports.list_queues())}
        for queue in self._catalog_file.current().queues:
            report = reports.get(queue)
            oldest_at = None if report is None else report.oldest_at
            age = 0.0 if report is None or oldest_at is None else (report.now - oldest_at).total_seconds()
            QUEUE_JOBS.labels(queue, "queued").set(0 if report is None else report.depth)
            QUEUE_JOBS.labels(queue, "in_progress").set(0 if report is None else report.in_progress)
            QUEUE_AGE_SECONDS.labels(queue).set(max(0.0, age))
        rows = {row.model: row for row in await self._database.execute(workers.list_models())}
        for model in _local_models(self._catalog_file):
            row = rows.get(model)
            for state in _STATES:
                MODEL_WORKERS.labels(model, state).set(0 if row is None else getattr(row, f"{state}_workers"))
            MODEL_BYTES.labels(model).set(0 if row is None else row.bytes or 0)


def _local_models(catalog_file: CatalogFile) -> list[str]:
    """The ids of the models that workers load."""
    return [model.id for model in catalog_file.current().models if not model.is_remote]
