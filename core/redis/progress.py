"""What happens to a job while one watches: denoising steps and "look at the database" nudges, over Redis.

All of it may be lost: the database holds every event, and whoever waits looks there every second or two as well.
Workers and the API publish (`Progress`), the API listens (`Listener`), on one channel per watched job.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypedDict

from redis.exceptions import RedisError

from core.redis.connection import connect, connect_async
from core.redis.notifier import KEY_PREFIX
from core.settings import Settings

log = logging.getLogger(__name__)

SNAPSHOT_SECONDS = 300
"""How long the last step stays readable; a denoising step takes less."""

_BROKEN = (RedisError, OSError, TimeoutError)
_PAUSE = 1.0
"""Seconds without a try after Redis failed: a Redis that hangs costs at most one timeout a second."""


class Step(TypedDict):
    """How far the drawing of a job is."""

    attempt: int
    step: int
    steps: int


class Preview(Step):
    """A look at an unfinished image."""

    index: int  # of the image in its job
    partial_image_index: int
    media_type: str
    b64_json: str


def _channel(job_id: str) -> str:
    return f"{KEY_PREFIX}job:{job_id}"


def _snapshot(job_id: str) -> str:
    return f"{KEY_PREFIX}step:{job_id}"


class _Breaker:
    """Remembers for a second that Redis failed."""

    def __init__(self) -> None:
        self._closed_until = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() >= self._closed_until

    def trip(self, error: BaseException) -> None:
        self._closed_until = time.monotonic() + _PAUSE
        log.debug("redis does not answer: %s", error)


class Progress:
    """Publishes, for synchronous code. Never raises: progress may be lost."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings)
        self._breaker = _Breaker()

    def steps(self, steps: Mapping[str, Step]) -> None:
        """Tell how far jobs are, by id: to whoever listens now or asks within the next minutes."""
        self._publish({job_id: {"type": "progress", **step} for job_id, step in steps.items()}, snapshots=steps)

    def preview(self, job_id: str, preview: Preview) -> None:
        """Show an unfinished image to whoever follows the job now."""
        self._publish({job_id: {"type": "preview", **preview}}, snapshots={})

    def changed(self, job_ids: Sequence[str]) -> None:
        """Tell that jobs moved: there is a new event in the database."""
        self._publish({job_id: {"type": "changed"} for job_id in job_ids}, snapshots={})

    def _publish(self, messages: Mapping[str, object], snapshots: Mapping[str, Step]) -> None:
        if not self._breaker.is_open:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for job_id, step in snapshots.items():
            pipeline.set(_snapshot(job_id), json.dumps(step), ex=SNAPSHOT_SECONDS)
        for job_id, message in messages.items():
            pipeline.publish(_channel(job_id), json.dumps(message))
        try:
            pipeline.execute()
        except _BROKEN as error:
            self._breaker.trip(error)


class Listener:
    """Hears what is published, for the API: one connection a process, a channel a watched job."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        self._watchers: dict[str, set[asyncio.Queue[Mapping[str, Any]]]] = {}
        self._breaker = _Breaker()
        self._reader: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._speaking = asyncio.Lock()  # two that speak at once would each open a connection, and one would be lost

    async def ping(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(await self._redis.ping())
        except _BROKEN:
            return False

    async def step(self, job_id: str) -> Step | None:
        """How far a job was when last heard of; None when unknown."""
        if not self._breaker.is_open:
            return None
        try:
            found = await self._redis.get(_snapshot(job_id))
        except _BROKEN as error:
            self._breaker.trip(error)
            return None
        return None if found is None else json.loads(found)

    async def changed(self, job_id: str) -> None:
        """Tell that a job moved; the API's own moves (cancel) are news to its other watchers too."""
        if self._breaker.is_open:
            try:
                await self._redis.publish(_channel(job_id), json.dumps({"type": "changed"}))
            except _BROKEN as error:
                self._breaker.trip(error)

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncIterator[asyncio.Queue[Mapping[str, Any]]]:
        """A queue of what is heard about a job while the context lasts. Slow watchers lose the oldest messages."""
        heard: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(maxsize=100)
        watchers = self._watchers.setdefault(job_id, set())
        watchers.add(heard)
        if len(watchers) == 1:
            await self._subscribe(job_id)
        try:
            yield heard
        finally:
            watchers.discard(heard)
            if not watchers:
                self._watchers.pop(job_id, None)
                # In a task of its own: the watcher's may be cancelled, and the channel shall be left all the same.
                leaving = asyncio.create_task(self._unsubscribe(job_id))
                self._leaving.add(leaving)
                leaving.add_done_callback(self._leaving.discard)

    async def is_watched(self, job_id: str) -> bool | None:
        """Whether anybody watches a job now, here or in another process; None when unknown."""
        if self._watchers.get(job_id):
            return True
        if not self._breaker.is_open:
            return None
        try:
            ((_, count),) = await self._redis.pubsub_numsub(_channel(job_id))
        except _BROKEN as error:
            self._breaker.trip(error)
            return None
        return bool(count)

    async def _unsubscribe(self, job_id: str) -> None:
        with suppress(*_BROKEN):
            async with self._speaking:
                if job_id not in self._watchers:
                    await self._pubsub.unsubscribe(_channel(job_id))

    async def _subscribe(self, job_id: str) -> None:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())
        with suppress(*_BROKEN):  # the reader subscribes again to everything once Redis is back
            async with self._speaking:
                await self._pubsub.subscribe(_channel(job_id))

    async def _read(self) -> None:
        """Hand every message to its job's watchers; after a broken connection, begin anew and tell all to look."""
        while True:
            try:
                # The idle channel keeps the connection in subscriber mode while nobody watches a job.
                async with self._speaking:
                    await self._pubsub.subscribe(_channel("-"), *(_channel(job_id) for job_id in self._watchers))
                for job_id in self._watchers:
                    self._hand_out(job_id, {"type": "changed"})
                async for message in self._pubsub.listen():
                    self._hand_out(message["channel"].decode().rpartition(":")[2], json.loads(message["data"]))
            except _BROKEN as error:
                log.warning("progress channel broken, listening again in %s s: %s", _PAUSE, error)
                await asyncio.sleep(_PAUSE)

    def _hand_out(self, job_id: str, message: Mapping[str, Any]) -> None:
        for heard in self._watchers.get(job_id, ()):
            if heard.full():
                heard.get_nowait()
            heard.put_nowait(message)

    async def close(self) -> None:
        """Stop listening."""
        await asyncio.gather(*self._leaving)
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        with suppress(*_BROKEN):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
            await self._redis.aclose()
