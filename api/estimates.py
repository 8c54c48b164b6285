"""The estimates of one process, cached: how long images take, and when a request would be done."""

import asyncio
import logging
import math
import time
from collections.abc import Mapping
from datetime import datetime

from api.queue_stats import QueueStats
from core.catalog.file import CatalogFile
from core.clock import NOW
from core.db import UNAVAILABLE, AsyncDatabase
from core.errors import first_line
from core.estimates import Estimates, list_measured

log = logging.getLogger(__name__)

CACHE_SECONDS = 5.0


class EstimateReader:
    """Reads what the last jobs took, at most once in CACHE_SECONDS."""

    def __init__(self, database: AsyncDatabase, catalog_file: CatalogFile, queue_stats: QueueStats) -> None:
        self._database = database
        self._catalog_file = catalog_file
        self._queue_stats = queue_stats
        self._lock = asyncio.Lock()
        self._updated_at = float("-inf")
        self._estimates = Estimates()

    async def current(self) -> Estimates:
        """The estimates; those before while the database is unavailable."""
        async with self._lock:
            if time.monotonic() - self._updated_at > CACHE_SECONDS:
                try:
                    self._estimates = Estimates(await self._database.execute(list_measured()))
                except UNAVAILABLE as error:
                    log.warning("what the last jobs took cannot be read: %s", first_line(error))
                self._updated_at = time.monotonic()
        return self._estimates

    async def backlog_seconds(self) -> Mapping[str, float]:
        """The device-seconds of the jobs that wait and run, by model."""
        estimates = await self.current()
        models = {model.id: model for model in self._catalog_file.current().models}
        return {
            name: queue.device_seconds * (estimates.factor(models[name]) if name in models else 1.0)
            for name, queue in (await self._queue_stats.by_model()).items()
        }

    async def finish_at(self, seconds: Mapping[str, float]) -> int | None:
        """When a request would be done with one device per queue, after the jobs that are in the queues.

        seconds: of the device, by queue. None: there are none, or a provider generates some of the images.
        """
        if not seconds or any(self._catalog_file.current().is_remote(queue) for queue in seconds):
            return None
        queue_of = {model.id: model.queue for model in self._catalog_file.current().models}
        totals = dict(seconds)
        for model, backlog in (await self.backlog_seconds()).items():
            if (queue := queue_of.get(model)) in totals and queue is not None:
                totals[queue] += backlog
        database_time: datetime = (await self._database.execute(NOW.select()))[0][0]
        return math.ceil(database_time.timestamp() + max(totals.values()))
