"""Requests and images per minute of projects and keys, counted in Redis for all API processes: a sliding window.

While Redis does not answer, each process counts alone, so that together they allow as many times the limit as there are
processes. A limit that failed open would be none; one that failed closed would let Redis stop the API.
"""

import logging
import time
from dataclasses import dataclass

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from core.redis.connection import connect_async
from core.settings import Settings

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""The time after an error of Redis in which it is not asked: each request would wait for it."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What is left of a limit after a request. reset_seconds: until the whole limit is available again."""

    is_exceeded: bool
    limit: int
    remaining: int
    reset_seconds: float


class RequestRates:
    """Counts the requests of one process and, while Redis answers, of all."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)
        pool = self._redis.connection_pool
        storage = RedisStorage("redis://", implementation="redispy", key_prefix="safelight:rates", connection_pool=pool)  # type: ignore[arg-type]  # documented
        self._shared = SlidingWindowCounterRateLimiter(storage)
        self._local = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._local_until = 0.0

    async def hit(self, subject_id: str, per_minute: int, unit: str = "requests", count: int = 1) -> Rate:
        """Count requests, or images, of a project or key. Those that exceed the limit are not counted."""
        item = RateLimitItemPerMinute(per_minute)
        names = (subject_id,) if unit == "requests" else (subject_id, unit)
        if time.monotonic() >= self._local_until:
            try:
                return await _hit(self._shared, item, names, count)
            except (RedisError, OSError, TimeoutError) as error:
                self._local_until = time.monotonic() + PAUSE_SECONDS
                log.warning("redis does not answer, this process counts requests alone: %s", error)
        return await _hit(self._local, item, names, count)

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


async def _hit(
    limiter: SlidingWindowCounterRateLimiter, item: RateLimitItem, names: tuple[str, ...], count: int
) -> Rate:
    is_allowed = await limiter.hit(item, *names, cost=count)
    stats = await limiter.get_window_stats(item, *names)
    return Rate(not is_allowed, item.amount, stats.remaining, max(stats.reset_time - time.time(), 0.0))
