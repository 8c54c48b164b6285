"""The unanswered synchronous calls in Redis: the job of each call, by the fingerprint of the request.

This is for retries of the SDKs, which have no idempotency key. The entries may be lost: then a retry generates its
images a second time, and an abandoned job is executed to its end. Only one process can remove an entry.
"""

import logging
from collections.abc import Awaitable
from typing import TypeVar, cast

from redis.exceptions import RedisError

from core.redis.connection import KEY_PREFIX, connect_async
from core.settings import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

_REDIS_ERRORS = (RedisError, OSError, TimeoutError)

_RETRY_SECONDS = 300
"""How long an entry is stored after the longest call. An SDK waits at most two minutes before a retry."""


class PendingRequests:
    """The unanswered calls of all API processes. Never raises: entries may be lost."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)
        self._seconds = int(settings.sync_timeout.total_seconds()) + _RETRY_SECONDS

    async def begin(self, fingerprint: bytes, job_id: str) -> None:
        """Record that a call with a fingerprint (`core.idempotency.fingerprint`) waits for a job."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.rpush(_key(fingerprint), job_id)
        pipeline.expire(_key(fingerprint), self._seconds)
        pipeline.set(key_of_call(job_id), fingerprint.hex(), ex=self._seconds)
        await _ignore_errors(pipeline.execute())

    async def list_jobs(self, fingerprint: bytes) -> list[str]:
        """The jobs of unanswered calls with a fingerprint, disconnected ones included; the oldest first."""
        job_ids = await _ignore_errors(cast(Awaitable[list[bytes]], self._redis.lrange(_key(fingerprint), 0, -1)))
        return [job_id.decode() for job_id in job_ids or ()]

    async def remove(self, fingerprint: bytes, job_id: str) -> bool:
        """Remove an entry. Returns whether this call removed it."""
        return bool(await _ignore_errors(self._redis.lrem(_key(fingerprint), 1, job_id)))

    async def close(self) -> None:
        """Close the connections."""
        await _ignore_errors(self._redis.aclose())


def call_key(fingerprint: str) -> str:
    """The key of the jobs of calls with a fingerprint, which is in hexadecimal digits."""
    return f"{KEY_PREFIX}calls:{fingerprint}"


def key_of_call(job_id: str) -> str:
    """The key that has the fingerprint of the call that waits for a job."""
    return f"{KEY_PREFIX}call:{job_id}"


def _key(fingerprint: bytes) -> str:
    return call_key(fingerprint.hex())


async def _ignore_errors(command: Awaitable[T]) -> T | None:
    try:
        return await command
    except _REDIS_ERRORS as error:
        log.debug("redis does not answer: %s", error)
        return None
