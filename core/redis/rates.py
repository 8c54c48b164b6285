"""Requests and images per minute of projects and keys, counted in Redis for all API processes: a sliding window.

While Redis does not answer, each process counts alone, so that together they allow as many times the limit as there are
processes. A limit that failed open would be none; one that failed closed would let Redis stop the API.
"""

import logging
import time
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import NoScriptError, RedisError

from core.redis.connection import connect_async
from core.settings import Settings

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""The time after an error of Redis in which it is not asked: each request would wait for it."""


Window = tuple[int, float, int, float]
"""Count and seconds of the window before and of the current one, as the package `limits` reads them."""

_window: ContextVar[Window] = ContextVar("window")


@dataclass(frozen=True, slots=True)
class Rate:
    """What is left of a limit after a request. reset_seconds: until the whole limit is available again."""

    is_exceeded: bool
    limit: int
    remaining: int
    reset_seconds: float


class _Storage(RedisStorage):
    """Counts and reads a window in one request to Redis. `limits` sends two, which cost a submit twice the time."""

    async def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count; `get_sliding_window` of the same task then has what was left. Returns whether it was allowed."""
        bridge: Any = self.bridge
        names = self._previous_window_key(key), self._current_window_key(key)
        keys = [bridge.prefixed_key(name) for name in names]
        calls = (bridge.lua_acquire_sliding_window, (limit, expiry, amount)), (bridge.lua_sliding_window, (expiry,))
        try:
            is_allowed, values = await self._call(keys, calls)
        except NoScriptError:  # Redis has been started since
            for script, _ in calls:
                await bridge.get_connection().script_load(script.script)
            is_allowed, values = await self._call(keys, calls)
        counts = [float(value or 0) for value in values]
        _window.set((int(counts[0]), max(0.0, counts[1]) / 1000, int(counts[2]), max(0.0, counts[3]) / 1000))
        return bool(is_allowed)

    async def _call(self, keys: list[str], calls: Any) -> tuple[Any, Any]:
        pipeline = cast(Any, self.bridge).get_connection().pipeline(transaction=False)
        for script, arguments in calls:
            pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
        is_allowed, values = await pipeline.execute()
        return is_allowed, values

    async def get_sliding_window(self, key: str, expiry: int) -> Window:
        """The window after the last count of this task."""
        return _window.get()


class RequestRates:
    """Counts the requests of one process and, while Redis answers, of all."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)
        pool = self._redis.connection_pool
        storage = _Storage("redis://", implementation="redispy", key_prefix="safelight:rates", connection_pool=pool)  # type: ignore[arg-type]  # documented
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
