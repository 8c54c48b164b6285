"""Numbers of queued and running jobs per model, and the states of queues, cached for two seconds.

With a million queued jobs the query takes half a second, and clients request `/v1/models` often.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, Field

from core import pauses, queries, workers
from core.db import AsyncDatabase

CACHE_SECONDS = 2.0

State = Literal["ready", "loading", "no_worker", "paused", "draining"]


class Queue(BaseModel):
    """The queue of a model."""

    name: str = Field("", description="Models that share a queue wait for the same workers.")
    state: State = Field(
        "no_worker",
        description="`loading`: no worker has loaded its first model yet. `no_worker` and `paused`: jobs are accepted, "
        "and wait. `draining`: jobs are refused.",
    )
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
        self._states: dict[str, State] = {}

    async def by_model(self) -> Mapping[str, Queue]:
        """The queue of each model that has jobs; at most CACHE_SECONDS old."""
        await self._update()
        return self._queues

    async def states(self) -> Mapping[str, State]:
        """The state of each queue that has workers or a pause; at most CACHE_SECONDS old."""
        await self._update()
        return self._states

    async def _update(self) -> None:
        async with self._lock:
            if time.monotonic() - self._updated_at <= CACHE_SECONDS:
                return
            rows = await self._database.execute(queries.queue_stats())
            self._queues = {
                row.model: Queue(queued=row.queued, in_progress=row.in_progress, device_seconds=row.device_seconds)
                for row in rows
            }
            self._states = {
                row.queue: "ready" if row.ready_workers else "loading"
                for row in await self._database.execute(workers.count_by_queue())
            }
            for pause in await self._database.execute(pauses.list_pauses()):
                if pause.kind == "queue":
                    self._states[pause.name] = pause.state
            self._updated_at = time.monotonic()
