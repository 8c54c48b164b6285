"""The callers of one process: which API keys are valid, as Postgres said within the last second.

One task reads all keys in use twice a second, whatever their number, so that requests need no statement of their own
and a revoked key is refused within a second. A key that has ended also ends its open requests. All this depends on
Postgres alone. The task also writes when keys were last used.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from typing import TypeVar

from api.edge.open_requests import OpenRequest
from core import keys
from core.db import UNAVAILABLE, AsyncDatabase
from core.errors import Unauthorized, first_line
from core.limit_errors import TooManyOpenRequests
from core.rows.key import ValidKey
from core.scopes import Scope

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
"""How often the keys in use are read."""

MAX_AGE_SECONDS = 1.0
"""The age from which what is known of a key is no longer used: the next request reads it itself."""

IDLE_SECONDS = 60.0
"""The time without a request after which a key is forgotten."""

RECORD_INTERVAL = timedelta(minutes=1)
"""How often the time of the last use of a key is written."""

MAX_KEYS = 1000
"""Keys in one statement."""


ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: a project, by one of its API keys.

    key_id: None if requests need no key. scopes: what the key may be used for.
    """

    project_id: str
    key_id: str | None
    scopes: frozenset[Scope]


@dataclass(slots=True)
class KeyEntry:
    """A key that was valid when it was read. Times are of the process's monotonic clock."""

    caller: Caller
    read_at: float
    expires_at: float
    used_at: float = -inf
    recorded_at: float = -inf
    requests: set[OpenRequest] = field(default_factory=set)

    def end_requests(self) -> None:
        """End the open requests of a key that is no longer valid."""
        for request in list(self.requests):
            request.end()


class Callers:
    """The keys in use."""

    def __init__(self, database: AsyncDatabase, max_project_requests: int) -> None:
        self._database = database
        self._max_project_requests = max_project_requests
        self._project_requests: dict[str, set[OpenRequest]] = {}
        self._entries: dict[bytes, KeyEntry] = {}
        self._reads: dict[bytes, list[asyncio.Future[None]]] = {}
        self._reader: asyncio.Task[None] | None = None
        self._poller: asyncio.Task[None] | None = None

    async def identify(self, key: str) -> KeyEntry:
        """A key in use. Raises Unauthorized if it is not valid, and what the database raises."""
        return await self.identify_hash(keys.hash_key(key))

    async def identify_hash(self, key_hash: bytes) -> KeyEntry:
        """A key in use, by its hash: what a session of the studio has. Raises as `identify` does."""
        now = time.monotonic()
        entry = self._entries.get(key_hash)
        if entry is None or now - entry.read_at > MAX_AGE_SECONDS or now >= entry.expires_at:
            await self._read_soon(key_hash)
            entry = self._entries.get(key_hash)
            if entry is None:
                raise Unauthorized
        entry.used_at = now
        return entry

    def begin(self, entry: KeyEntry, request: OpenRequest, scope: Scope) -> None:
        """Count a request of a key, and of its project, until it ends. Raises TooManyOpenRequests."""
        project_id = entry.caller.project_id
        project_requests = self._project_requests.setdefault(project_id, set())
        if len(project_requests) >= self._max_project_requests:
            raise TooManyOpenRequests(
                f"This project has {self._max_project_requests} requests in progress; nothing was stored. Close event "
                "streams that are no longer read, or use webhooks."
            )
        request.join(scope, entry.requests, project_requests)

    async def close(self) -> None:
        """Stop reading, and write the last use of the keys."""
        tasks = [task for task in (self._reader, self._poller) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        try:
            await self._record_use([entry for entry in self._entries.values() if entry.used_at > entry.recorded_at])
        except UNAVAILABLE as error:
            log.warning("the last use of API keys is not recorded: %s", first_line(error))

    async def _read_soon(self, key_hash: bytes) -> None:
        """Read a key. The keys of requests that come meanwhile are read together by the next statement."""
        result: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reads.setdefault(key_hash, []).append(result)
        if self._reader is None or self._reader.done():
            self._reader = asyncio.create_task(self._read_waiting())
        await result

    async def _read_waiting(self) -> None:
        while self._reads:
            group = list(self._reads)[:MAX_KEYS]
            results = [result for key_hash in group for result in self._reads.pop(key_hash)]
            try:
                await self._read(group)
            except Exception as error:
                for result in results:
                    if not result.done():  # its client may have disconnected
                        result.set_exception(error)
            for result in results:
                if not result.done():
                    result.set_result(None)

    async def _read(self, hashes: Sequence[bytes]) -> None:
        """Read keys. Those that are not valid are forgotten."""
        started_at = time.monotonic()
        rows = {row.hash: row for row in await self._database.execute(keys.list_valid(hashes))}
        for key_hash in hashes:
            if (row := rows.get(key_hash)) is not None:
                self._store(row, started_at)
            else:
                self._remove(key_hash)

    def _remove(self, key_hash: bytes) -> None:
        entry = self._entries.pop(key_hash, None)
        if entry is not None:
            entry.end_requests()

    def _store(self, row: ValidKey, read_at: float) -> None:
        caller = Caller(row.project_id, row.id, frozenset(scope for scope in Scope if scope in row.scopes))
        expires_at = inf if row.seconds_left is None else read_at + row.seconds_left
        entry = self._entries.setdefault(row.hash, KeyEntry(caller, read_at, expires_at))
        if entry.caller.scopes - caller.scopes:
            for request in [request for request in entry.requests if request.key_scope not in caller.scopes]:
                request.end()
        entry.caller, entry.read_at, entry.expires_at = caller, read_at, expires_at
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())

    async def _poll(self) -> None:
        """Read the keys in use twice a second while there are any."""
        while self._entries:
            await asyncio.sleep(POLL_SECONDS)
            now = time.monotonic()
            self._project_requests = {
                project: requests for project, requests in self._project_requests.items() if requests
            }
            for key_hash, entry in list(self._entries.items()):
                is_idle = now - entry.used_at > IDLE_SECONDS and not entry.requests
                if now >= entry.expires_at or is_idle:
                    self._remove(key_hash)
            try:
                for group in _groups(list(self._entries)):
                    await self._read(group)
                await self._record_use([entry for entry in self._entries.values() if _is_use_due(entry)])
            except UNAVAILABLE as error:
                log.warning("database unavailable, reading API keys again in %s s: %s", POLL_SECONDS, first_line(error))

    async def _record_use(self, entries: Sequence[KeyEntry]) -> None:
        now = time.monotonic()
        for group in _groups(entries):
            key_ids = [entry.caller.key_id for entry in group if entry.caller.key_id is not None]
            await self._database.execute(keys.record_use(key_ids, RECORD_INTERVAL))
            for entry in group:
                entry.recorded_at = now


def _is_use_due(entry: KeyEntry) -> bool:
    since_record = time.monotonic() - entry.recorded_at
    return entry.used_at > entry.recorded_at and since_record >= RECORD_INTERVAL.total_seconds()


def _groups(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    for start in range(0, len(items), MAX_KEYS):
        yield items[start : start + MAX_KEYS]
