"""Tells requests that wait for a job when it changes: at once over Redis, or within a second from the database.

Redis messages may be lost. One task per process therefore reads the versions of all watched jobs once a second, so
that a waiting request needs no connection and no statement of its own.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from core import queries
from core.db import UNAVAILABLE, AsyncDatabase
from core.redis.progress import Listener

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
"""How often the versions of watched jobs are read: the longest delay that a lost message causes."""

MAX_JOBS = 1000
"""Jobs in one statement."""

Messages = asyncio.Queue[Mapping[str, Any]]


class JobWatcher:
    """The watched jobs of one process."""

    def __init__(self, database: AsyncDatabase, listener: Listener) -> None:
        self._database = database
        self._listener = listener
        self._queues: dict[str, set[Messages]] = {}
        self._versions: dict[str, int] = {}
        self._poller: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncIterator[Messages]:
        """Messages about a job while the context lasts.

        `progress` and `preview` come from Redis. `changed` means that the job has a new event in the database; it
        carries the job's `version` if the database was read (0: the job does not exist). A job's first reading always
        brings `changed`, as the process does not know which version the caller has seen.
        """
        async with self._listener.watch(job_id) as messages:
            self._queues.setdefault(job_id, set()).add(messages)
            if self._poller is None or self._poller.done():
                self._poller = asyncio.create_task(self._poll())
            try:
                yield messages
            finally:
                self._queues[job_id].discard(messages)
                if not self._queues[job_id]:
                    del self._queues[job_id]
                    self._versions.pop(job_id, None)

    async def close(self) -> None:
        """Stop reading."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    async def _poll(self) -> None:
        """Read the versions of all watched jobs once a second while there are any."""
        while self._queues:
            await asyncio.sleep(POLL_SECONDS)
            try:
                job_ids = list(self._queues)
                for start in range(0, len(job_ids), MAX_JOBS):
                    await self._read(job_ids[start : start + MAX_JOBS])
            except UNAVAILABLE as error:
                log.warning("database unavailable, reading again in %s s: %s", POLL_SECONDS, error)

    async def _read(self, job_ids: list[str]) -> None:
        rows = await self._database.execute(queries.list_versions(job_ids))
        versions = dict.fromkeys(job_ids, 0) | {row.id: row.version for row in rows}
        for job_id, version in versions.items():
            if job_id in self._queues and self._versions.get(job_id) != version:
                self._versions[job_id] = version
                for messages in self._queues[job_id]:
                    if messages.full():
                        messages.get_nowait()
                    messages.put_nowait({"type": "changed", "version": version})
