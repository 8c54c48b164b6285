"""How much waits for each model, read off the database once for all who ask within two seconds.

With a million jobs in line the reading takes half a second, and clients look at `/v1/models` often.
"""

import asyncio
import time
from collections.abc import Mapping

from pydantic import BaseModel, Field

from core import queries
from core.db import AsyncDatabase

FRESH_SECONDS = 2.0


class Queue(BaseModel):
    """What waits for a model."""

    queued: int = 0
    in_progress: int = 0
    device_seconds: float = Field(0.0, description="Estimated device time of all jobs that are not done.")


class QueueStats:
    """What one process knows of how much waits."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._reading = asyncio.Lock()
        self._read_at = float("-inf")
        self._found: dict[str, Queue] = {}

    async def by_model(self) -> Mapping[str, Queue]:
        """What waits for each model that anything waits for; at most FRESH_SECONDS old."""
        async with self._reading:
            if time.monotonic() - self._read_at > FRESH_SECONDS:
                rows = await self._database.execute(queries.queue_stats())
                self._found = {
                    row.model: Queue(queued=row.queued, in_progress=row.in_progress, device_seconds=row.device_seconds)
                    for row in rows
                }
                self._read_at = time.monotonic()
        return self._found
