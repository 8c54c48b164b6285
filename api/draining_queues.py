"""Refuses jobs for queues that an operator drains. The drains are a second old at most."""

from api.recent_value import RecentValue
from core import pauses
from core.db import AsyncDatabase
from core.errors import QueueDraining
from core.text import quote

MAX_AGE_SECONDS = 1.0


class DrainingQueues:
    """The queues that accept no jobs, as one process knows them."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._names = RecentValue(self._read, MAX_AGE_SECONDS)

    async def _read(self) -> frozenset[str]:
        return pauses.draining_queues(await self._database.execute(pauses.list_pauses()))

    async def check(self, queue: str) -> None:
        """Raise QueueDraining if a queue accepts no jobs. Also raises what the database raises."""
        if queue in await self._names.get():
            raise QueueDraining(
                f"An operator drains the queue {quote(queue)} of this model, which accepts no jobs; nothing was stored."
            )
