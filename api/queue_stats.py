"""Numbers of queued and running jobs per model, and the states of queues, cached for two seconds.

With a million queued jobs the query takes half a second, and clients request `/v1/models` often.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from typing import Literal

from pydantic import BaseModel, Field

from core import pauses, queries, workers
from core.db import AsyncDatabase
from core.rows.queue import ModelWorkersRow
from core.scopes import Scope

CACHE_SECONDS = 2.0

ModelState = Literal["loaded", "loading", "cold", "unusable", "remote"]
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


class SelfTestResult(BaseModel):
    """Whether an image of the model has the same bytes alone and in a micro-batch, as a worker found at load."""

    size: str
    images: int = Field(description="Images of the micro-batch. 1: images of this model are always alone.")
    difference: int = Field(description="The largest difference of a colour value, of 255. 0: the bytes are equal.")


class ModelReadiness(BaseModel):
    """Which workers have a model loaded."""

    state: ModelState = Field(
        "cold",
        description="`loaded`: by a worker at least. `loading`: a worker loads it now. `cold`: the next job loads it. "
        "`unusable`: no worker can load it; see `reason`. `remote`: a provider has it.",
    )
    loaded_workers: int = 0
    loading_workers: int = 0
    unusable_workers: int = Field(0, description="Workers that cannot load it.")
    bytes: int | None = Field(None, description="Memory of its weights, measured. Null: not loaded.")
    reason: str | None = Field(None, description="Why a worker cannot load it.")
    self_test: SelfTestResult | None = Field(
        None, description="Of the worker with the largest difference. Null: the catalogue asks for no self-test."
    )


PLAIN_REASON = "No worker that serves it can load it. An operator can read the reason here, or in the worker's log."
"""What tenants read: the reason itself may name paths of the server."""


class QueueStats:
    """The cached numbers of one process."""

    def __init__(self, database: AsyncDatabase) -> None:
        self._database = database
        self._lock = asyncio.Lock()
        self._updated_at = float("-inf")
        self._queues: dict[str, Queue] = {}
        self._states: dict[str, State] = {}
        self._readiness: dict[str, ModelReadiness] = {}

    async def by_model(self) -> Mapping[str, Queue]:
        """The queue of each model that has jobs; at most CACHE_SECONDS old."""
        await self._update()
        return self._queues

    async def states(self) -> Mapping[str, State]:
        """The state of each queue that has workers or a pause; at most CACHE_SECONDS old."""
        await self._update()
        return self._states

    async def readiness(self, scopes: Collection[Scope]) -> Mapping[str, ModelReadiness]:
        """The readiness of each model that a worker reports; at most CACHE_SECONDS old. scopes: of the caller."""
        await self._update()
        if Scope.ADMIN in scopes:
            return self._readiness
        return {
            name: readiness.model_copy(update={"reason": readiness.reason and PLAIN_REASON})
            for name, readiness in self._readiness.items()
        }

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
            self._readiness = {
                row.model: _readiness(row) for row in await self._database.execute(workers.list_models())
            }
            self._updated_at = time.monotonic()


def _readiness(row: ModelWorkersRow) -> ModelReadiness:
    state: ModelState = "loaded" if row.loaded_workers else "loading" if row.loading_workers else "unusable"
    worst = max(row.self_tests or (), key=lambda result: result["difference"], default=None)
    return ModelReadiness(
        state=state,
        loaded_workers=row.loaded_workers,
        loading_workers=row.loading_workers,
        unusable_workers=row.unusable_workers,
        bytes=row.bytes,
        reason=row.reason,
        self_test=None if worst is None else SelfTestResult(**worst),
    )
