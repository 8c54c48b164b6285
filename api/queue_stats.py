"""Numbers of queued and running jobs per model, cached for two seconds.

With a million queued jobs the query takes half a second, and clients request `/v1/models` often.
"""

import asyncio
import time
from collections.abc import Mapping

from pydantic import BaseModel, Field

from core import queries
from core.db import AsyncDatabase

CACHE_SECONDS = 2.0


class Queue(BaseModel):
    """The queue of a model."""

    queued: int = 0
    in_progress: int = 0
    device_seconds: float = Field(0.0, description="Estimated device time of all queued and running jobs.")


class QueueStats:
    """The cached numbers of one process."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._updated_at = float("-inf")
        self._queues: dict[str, Queue] = {}

    async def by_model(self) -> Mapping[str, Queue]:
        """The queue of each model that has jobs; at most CACHE_SECONDS old."""
        async with self._lock:
            if time.monotonic() - self._updated_at > CACHE_SECONDS:
                rows = await self._database.execute(queries.queue_stats())
                self._queues = {
                    row.model: Queue(queued=row.queued, in_progress=row.in_progress, device_seconds=row.device_seconds)
                    for row in rows
                }
                self._updated_at = time.monotonic()
        return self._queues
