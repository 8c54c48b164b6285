"""Wake-ups: a list in Redis for each queue, on which idle workers wait. It holds one entry at most.

They say what a notification says (`core.redis.notifier`), to one worker that has nothing to do, in less than a
millisecond: Celery takes three or four until its task runs. They may be lost as well.
"""

import logging
import time
from collections.abc import Awaitable, Sequence
from typing import Any, cast

from redis.exceptions import RedisError

from core.redis.connection import KEY_PREFIX, connect, connect_async
from core.settings import Settings

log = logging.getLogger(__name__)

WAIT_SECONDS = 10
"""How long a worker waits in one request."""

RETRY_SECONDS = 1.0
"""After Redis failed, so that a Redis that hangs costs no more than one timeout a second."""

_REDIS_ERRORS = (RedisError, OSError, TimeoutError)


def wakeup_key(queue: str) -> str:
    """The list of a queue."""
    return f"{KEY_PREFIX}wakeup:{queue}"


def _send(pipeline: Any, queue: str) -> Any:
    """Whoever waits gets the entry at once. If nobody does, one entry says enough."""
    key = wakeup_key(queue)
    return pipeline.lpush(key, "").ltrim(key, 0, 0)


class Wakeups:
    """Sends wake-ups and waits for them, for synchronous code. Never raises."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect(settings)
        self._waiting_redis = connect(settings, WAIT_SECONDS + 2)
        self._paused_until = 0.0

    def send(self, queue: str) -> bool:
        """Wake one worker that waits for a queue. Returns whether Redis accepted it."""
        if time.monotonic() < self._paused_until:
            return False
        try:
            _send(self._redis.pipeline(transaction=False), queue).execute()
        except _REDIS_ERRORS as error:
            self._paused_until = time.monotonic() + RETRY_SECONDS
            log.warning("queue %s not notified: %s", queue, error)
            return False
        return True

    def wait(self, queues: Sequence[str]) -> str | None:
        """Wait for a wake-up, for the first of these queues that has one. None: there was none for some seconds.

        Raises RedisError, OSError or TimeoutError.
        """
        keys = {wakeup_key(queue).encode(): queue for queue in queues}
        entry = cast(list[bytes] | None, self._waiting_redis.blpop(list(keys), timeout=WAIT_SECONDS))
        return None if entry is None else keys[entry[0]]


class AsyncWakeups:
    """Sends wake-ups, for the API. Never raises."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)
        self._paused_until = 0.0

    async def send(self, queue: str) -> None:
        """Wake one worker that waits for a queue."""
        if time.monotonic() < self._paused_until:
            return
        try:
            await cast(Awaitable[Any], _send(self._redis.pipeline(transaction=False), queue).execute())
        except _REDIS_ERRORS as error:
            self._paused_until = time.monotonic() + RETRY_SECONDS
            log.warning("queue %s not notified: %s", queue, error)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
