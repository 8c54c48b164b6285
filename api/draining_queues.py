"""Refuses jobs for queues that an operator drains. The drains are read at most once a second."""

import asyncio
import time

from core import pauses
from core.db import AsyncDatabase
from core.errors import QueueDraining
from core.text import quote

CACHE_SECONDS = 1.0


class DrainingQueues:
    """The queues that accept no jobs, as one process knows them."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._read_at = float("-inf")
        self._names: frozenset[str] = frozenset()

    async def check(self, queue: str) -> None:
        """Raise QueueDraining if a queue accepts no jobs. Also raises what the database raises."""
        if time.monotonic() - self._read_at > CACHE_SECONDS:
            async with self._lock:
                if time.monotonic() - self._read_at > CACHE_SECONDS:
                    rows = await self._database.execute(pauses.list_pauses())
                    self._names = pauses.draining_queues(rows)
                    self._read_at = time.monotonic()
        if queue in self._names:
            raise QueueDraining(
                f"An operator drains the queue {quote(queue)} of this model, which accepts no jobs; nothing was stored."
            )
