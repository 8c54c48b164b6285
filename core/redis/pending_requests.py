"""Synchronous calls that are not answered yet, over Redis: which job each waits for, found by what it asked.

For an SDK's silent retry, which carries no key of its own. All of it may be lost: then a retry has its images drawn
anew, and a job that nobody waits for is drawn to its end. Whoever takes a job off the list is the only one who does.
"""

import logging
from collections.abc import Awaitable
from typing import TypeVar, cast

from redis.exceptions import RedisError

from core.redis.connection import connect_async
from core.redis.notifier import KEY_PREFIX
from core.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

_BROKEN = (RedisError, OSError, TimeoutError)

_LONGER = 300
"""Seconds that an entry outlives the longest call: an SDK waits at most two minutes before it tries again."""


class PendingRequests:
    """The unanswered calls of all API processes. Never raises: they may be lost."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)
        self._seconds = int(settings.sync_timeout.total_seconds()) + _LONGER

    async def begin(self, fingerprint: bytes, job_id: str) -> None:
        """Note that a call for this (`core.idempotency.fingerprint`) waits for a job."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.rpush(_key(fingerprint), job_id)
        pipeline.expire(_key(fingerprint), self._seconds)
        await _quietly(pipeline.execute())

    async def unanswered(self, fingerprint: bytes) -> list[str]:
        """The jobs that calls for this wait for, or waited for until they broke off; the oldest first."""
        found = await _quietly(cast(Awaitable[list[bytes]], self._redis.lrange(_key(fingerprint), 0, -1)))
        return [job_id.decode() for job_id in found or ()]

    async def take(self, fingerprint: bytes, job_id: str) -> bool:
        """Take a job off the list. Whether it was there, and we were the first."""
        return bool(await _quietly(self._redis.lrem(_key(fingerprint), 1, job_id)))

    async def close(self) -> None:
        """Close the connections."""
        await _quietly(self._redis.aclose())


def _key(fingerprint: bytes) -> str:
    return f"{KEY_PREFIX}calls:{fingerprint.hex()}"


async def _quietly(asked: Awaitable[T]) -> T | None:
    try:
        return await asked
    except _BROKEN as error:
        log.debug("redis does not answer: %s", error)
        return None
