"""The progress of jobs over Redis: denoising steps, previews, and notifications of changes in the database.

Any message may be lost: the database has all events, and the API polls it every second or two as well. Workers and the
API publish (`Progress`), the API listens (`Listener`), on one channel per watched job. A change of any job or batch
is also published on the channel CHANGES_CHANNEL, to which the deliverer of webhooks listens.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypedDict

from redis.exceptions import RedisError

from core.redis.connection import KEY_PREFIX, connect, connect_async
from core.settings import Settings

log = logging.getLogger(__name__)

SNAPSHOT_SECONDS = 300
"""How long the last step is stored. A denoising step takes less."""

PREVIEW_SECONDS = 60
"""How long the last preview is stored, for clients that poll."""

CANCEL_SECONDS = 60
"""How long the cancel of a call is stored: it may arrive before the call does, on another connection."""

CHANGES_CHANNEL = f"{KEY_PREFIX}changes"
"""The channel of all changes, for the deliverer of webhooks (`core.redis.changes`)."""

BATCHES_CHANNEL = f"{KEY_PREFIX}batches"
"""The channel that says that a batch waits for the batch processor."""

_CHANGE_MESSAGE = json.dumps({"type": "changed"})

_PUBLISH_CHANGES = """
redis.call('PUBLISH', ARGV[1], '')
for position = 3, #ARGV do redis.call('PUBLISH', ARGV[position], ARGV[2]) end
"""
"""One command for a micro-batch: a command for each of its jobs took a tenth of a worker's processor time."""

_REDIS_ERRORS = (RedisError, OSError, TimeoutError)
_PAUSE = 1.0
"""Seconds without a request after Redis failed, so that a Redis that hangs costs at most one timeout per second."""


class Step(TypedDict):
    """The current denoising step of a job."""

    attempt: int
    step: int
    steps: int


class Preview(Step):
    """A preview of an unfinished image."""

    index: int  # of the image in its job
    partial_image_index: int
    media_type: str
    b64_json: str


def _channel(job_id: str) -> str:
    return f"{KEY_PREFIX}job:{job_id}"


def step_key(job_id: str) -> str:
    """The key of the last step of a job."""
    return f"{KEY_PREFIX}step:{job_id}"


def preview_key(job_id: str) -> str:
    """The key of the last preview of a job."""
    return f"{KEY_PREFIX}preview:{job_id}"


def cancel_key(call_id: str) -> str:
    """The key that says that a call is cancelled."""
    return f"{KEY_PREFIX}cancelled:{call_id}"


class _Breaker:
    """Blocks requests for a second after Redis failed."""

    def __init__(self) -> None:
        self._paused_until = 0.0

    @property
    def is_paused(self) -> bool:
        return time.monotonic() < self._paused_until

    def trip(self, error: BaseException) -> None:
        self._paused_until = time.monotonic() + _PAUSE
        log.debug("redis does not answer: %s", error)


class Progress:
    """Publishes messages, for synchronous code. Never raises: messages may be lost."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings)
        self._breaker = _Breaker()

    def publish_steps(self, steps: Mapping[str, Step]) -> None:
        """Publish the steps of jobs, by id, and store them for requests of the next minutes."""
        snapshots = {step_key(job_id): step for job_id, step in steps.items()}
        messages = {job_id: {"type": "progress", **step} for job_id, step in steps.items()}
        self._publish(messages, snapshots, SNAPSHOT_SECONDS)

    def publish_preview(self, job_id: str, preview: Preview) -> None:
        """Publish a preview to the current listeners, and store it for requests of the next minute."""
        self._publish({job_id: {"type": "preview", **preview}}, {preview_key(job_id): preview}, PREVIEW_SECONDS)

    def publish_changes(self, job_ids: Sequence[str]) -> None:
        """Publish that jobs or batches have a new event in the database."""
        if job_ids and not self._breaker.is_paused:
            try:
                self._redis.eval(_PUBLISH_CHANGES, 0, CHANGES_CHANNEL, _CHANGE_MESSAGE, *map(_channel, job_ids))
            except _REDIS_ERRORS as error:
                self._breaker.trip(error)

    def _publish(
        self,
        messages: Mapping[str, object],
        snapshots: Mapping[str, Step] | None = None,
        seconds: int = 0,
    ) -> None:
        """Publish messages by job, and store snapshots by key for some seconds."""
        if self._breaker.is_paused:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for key, snapshot in (snapshots or {}).items():
            pipeline.set(key, json.dumps(snapshot), ex=seconds)
        for job_id, message in messages.items():
            pipeline.publish(_channel(job_id), json.dumps(message))
        try:
            pipeline.execute()
        except _REDIS_ERRORS as error:
            self._breaker.trip(error)


class Listener:
    """Receives messages, for the API: one connection per process, one channel per watched job."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        self._watchers: dict[str, set[asyncio.Queue[Mapping[str, Any]]]] = {}
        self._breaker = _Breaker()
        self._reader: asyncio.Task[None] | None = None
        self._unsubscribe_tasks: set[asyncio.Task[None]] = set()
        # Two concurrent commands would each open a connection, and one of these would be lost.
        self._command_lock = asyncio.Lock()

    async def ping(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(await self._redis.ping())
        except _REDIS_ERRORS:
            return False

    async def step(self, job_id: str) -> Step | None:
        """The last step of a job; None if it is not known."""
        step: Step | None = await self._snapshot(step_key(job_id))
        return step

    async def preview(self, job_id: str) -> Preview | None:
        """The last preview of a job; None if it is not known."""
        preview: Preview | None = await self._snapshot(preview_key(job_id))
        return preview

    async def _snapshot(self, key: str) -> Any:
        if self._breaker.is_paused:
            return None
        try:
            snapshot = await self._redis.get(key)
        except _REDIS_ERRORS as error:
            self._breaker.trip(error)
            return None
        return None if snapshot is None else json.loads(snapshot)

    async def publish_change(self, job_id: str) -> None:
        """Publish that a job has a new event. The API's own changes (cancel) concern its other watchers too."""
        await self._publish(job_id, "changed")

    async def publish_cancel(self, call_id: str) -> None:
        """Publish that the client of a call has cancelled it, and store it for a process that will watch the call."""
        if not self._breaker.is_paused:
            try:
                await self._redis.set(cancel_key(call_id), "1", ex=CANCEL_SECONDS)
            except _REDIS_ERRORS as error:
                self._breaker.trip(error)
        await self._publish(call_id, "cancelled")

    async def is_cancelled(self, call_id: str) -> bool:
        """Whether the client of a call has cancelled it in the last minute."""
        return await self._snapshot(cancel_key(call_id)) is not None

    async def publish_new_batch(self, batch_id: str) -> None:
        """Publish that a batch was submitted whose lines are to be read."""
        await self._publish(batch_id, "changed", BATCHES_CHANNEL)

    async def _publish(self, subject_id: str, kind: str, *channels: str) -> None:
        if not self._breaker.is_paused:
            pipeline = self._redis.pipeline(transaction=False)
            pipeline.publish(_channel(subject_id), json.dumps({"type": kind}))
            for channel in (*channels, *([CHANGES_CHANNEL] if kind == "changed" else [])):
                pipeline.publish(channel, "")
            try:
                await pipeline.execute()
            except _REDIS_ERRORS as error:
                self._breaker.trip(error)

    @asynccontextmanager
    async def watch(self, job_id: str) -> AsyncIterator[asyncio.Queue[Mapping[str, Any]]]:
        """A queue of the messages about a job, for the time of the context. Slow watchers lose the oldest messages."""
        messages: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(maxsize=100)
        watchers = self._watchers.setdefault(job_id, set())
        watchers.add(messages)
        if len(watchers) == 1:
            await self._subscribe(job_id)
        try:
            yield messages
        finally:
            watchers.discard(messages)
            if not watchers:
                self._watchers.pop(job_id, None)
                # In a separate task, because the watcher's task may be cancelled before the channel is unsubscribed.
                task = asyncio.create_task(self._unsubscribe(job_id))
                self._unsubscribe_tasks.add(task)
                task.add_done_callback(self._unsubscribe_tasks.discard)

    async def is_watched(self, job_id: str) -> bool | None:
        """Whether this or another process watches a job now; None if it is not known."""
        if self._watchers.get(job_id):
            return True
        if self._breaker.is_paused:
            return None
        try:
            ((_, count),) = await self._redis.pubsub_numsub(_channel(job_id))
        except _REDIS_ERRORS as error:
            self._breaker.trip(error)
            return None
        return bool(count)

    async def _unsubscribe(self, job_id: str) -> None:
        with suppress(*_REDIS_ERRORS):
            async with self._command_lock:
                if job_id not in self._watchers:
                    await self._pubsub.unsubscribe(_channel(job_id))

    async def _subscribe(self, job_id: str) -> None:
        if self._reader is None:
            self._reader = asyncio.create_task(self._distribute())
        with suppress(*_REDIS_ERRORS):  # the reader subscribes to all channels again when Redis is back
            async with self._command_lock:
                await self._pubsub.subscribe(_channel(job_id))

    async def _distribute(self) -> None:
        """Pass each message to its job's watchers. After a lost connection, subscribe again and notify all watchers."""
        while True:
            try:
                # The channel "-" keeps the connection in subscriber mode while no job is watched.
                async with self._command_lock:
                    await self._pubsub.subscribe(_channel("-"), *(_channel(job_id) for job_id in self._watchers))
                for job_id in self._watchers:
                    self._pass_on(job_id, {"type": "changed"})
                async for message in self._pubsub.listen():
                    self._pass_on(message["channel"].decode().rpartition(":")[2], json.loads(message["data"]))
            except _REDIS_ERRORS as error:
                log.warning("progress connection lost, subscribing again in %s s: %s", _PAUSE, error)
                await asyncio.sleep(_PAUSE)

    def _pass_on(self, job_id: str, message: Mapping[str, Any]) -> None:
        for messages in self._watchers.get(job_id, ()):
            if messages.full():
                messages.get_nowait()
            messages.put_nowait(message)

    async def close(self) -> None:
        """Stop listening."""
        await asyncio.gather(*self._unsubscribe_tasks)
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        with suppress(*_REDIS_ERRORS):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
            await self._redis.aclose()
