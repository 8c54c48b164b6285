"""Requests and images per minute of projects and keys, counted in Redis for all API processes: a sliding window.

What arrives while a request to Redis is in progress is counted by the next one, together: a request to Redis costs as
much as a third of a submit. Nothing is counted ahead, so no limit is exceeded, and none is reached too early.

While Redis does not answer, each process counts alone, so that together they allow as many times the limit as there are
processes. A limit that failed open would be none; one that failed closed would let Redis stop the API.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from core.event_loop import until_quiet
from core.redis.connection import connect_async
from core.settings import Settings

log = logging.getLogger(__name__)

PAUSE_SECONDS = 5.0
"""The time after an error of Redis in which it is not asked: each request would wait for it."""

UNAVAILABLE = (RedisError, OSError, TimeoutError)

Window = tuple[int, float, int, float]
"""Count and seconds of the window before and of the current one, as the package `limits` reads them."""

_SCRIPT = """
local function acquire(KEYS, ARGV)
{acquire}
end
local function window(KEYS, ARGV)
{window}
end
local replies = {{}}
for number = 1, #KEYS, 2 do
  local keys = {{KEYS[number], KEYS[number + 1]}}
  local first = (number - 1) / 2 * 3
  local amount = tonumber(ARGV[first + 3])
  if amount < 0 then
    amount = math.max(amount, -(tonumber(window(keys, {{ARGV[first + 2]}})[3]) or 0))
  end
  replies[number] = acquire(keys, {{ARGV[first + 1], ARGV[first + 2], amount}}) and 1 or 0
  replies[number + 1] = window(keys, {{ARGV[first + 2]}})
end
return replies
"""
"""The two scripts of the package, which counts or reads one limit with each, for any number of limits.

What is taken back is at most what the current window has: below zero, more than the limit would be allowed later.
"""

MAX_HITS = 500
"""Requests after which those that wait are counted, although more arrive."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What is left of a limit after a request. reset_seconds: until the whole limit is available again."""

    is_exceeded: bool
    limit: int
    remaining: int
    reset_seconds: float


class Limit(NamedTuple):
    """What is counted for whom. names: the project or key, and the unit if it is not requests."""

    names: tuple[str, ...]
    per_minute: int

    @property
    def item(self) -> RateLimitItem:
        """The limit, as the package describes it."""
        return RateLimitItemPerMinute(self.per_minute)


@dataclass(frozen=True, slots=True)
class Hit:
    """Requests, or images, that wait to be counted."""

    count: int
    result: asyncio.Future[Rate]

    def answer(self, rate: Rate) -> None:
        """Say what is left. The client may have disconnected."""
        if not self.result.done():
            self.result.set_result(rate)


Entry = tuple[Limit, Sequence[Hit]]
"""A limit, and what is counted together: all of it or nothing."""


class _Storage(RedisStorage):
    """Counts several limits in one request to Redis."""

    window: Window = (0, 0.0, 0, 0.0)
    """What `get_sliding_window` returns: a window that `acquire` has read."""

    async def acquire(self, entries: Sequence[Entry]) -> list[tuple[bool, Window]]:
        """Count the entries, one after the other. Returns whether each was allowed, and its window after that."""
        bridge: Any = self.bridge
        keys: list[str] = []
        arguments: list[int] = []
        for limit, hits in entries:
            item = limit.item
            key = item.key_for(*limit.names)
            keys += map(bridge.prefixed_key, (self._previous_window_key(key), self._current_window_key(key)))
            arguments += (item.amount, item.get_expiry(), sum(hit.count for hit in hits))
        replies = await bridge.lua_acquire_all(keys, arguments)
        return [(bool(replies[number]), _window(replies[number + 1])) for number in range(0, len(replies), 2)]

    async def get_sliding_window(self, key: str, expiry: int) -> Window:
        """The window that is set."""
        return self.window


class RequestRates:
    """Counts the requests of one process and, while Redis answers, of all."""

    def __init__(self, settings: Settings) -> None:
        self._redis = connect_async(settings)
        pool = self._redis.connection_pool
        self._storage = _Storage(
            "redis://",
            implementation="redispy",
            key_prefix="safelight:rates",
            connection_pool=pool,  # type: ignore[arg-type]  # documented
        )
        bridge: Any = self._storage.bridge
        scripts = bridge.SCRIPT_ACQUIRE_SLIDING_WINDOW, bridge.SCRIPT_SLIDING_WINDOW
        acquire, window = (script.decode() for script in scripts)
        bridge.lua_acquire_all = self._redis.register_script(_SCRIPT.format(acquire=acquire, window=window))
        self._shared = SlidingWindowCounterRateLimiter(self._storage)
        self._memory = MemoryStorage()
        self._local = SlidingWindowCounterRateLimiter(self._memory)
        self._local_until = 0.0
        self._hits: dict[Limit, list[Hit]] = {}
        self._counter: asyncio.Task[None] | None = None

    async def hit(self, subject_id: str, per_minute: int, unit: str = "requests", count: int = 1) -> Rate:
        """Count requests, or images, of a project or key. Those that exceed the limit are not counted.

        A negative count takes back what was counted, as far as it is in the current minute.
        """
        limit = Limit((subject_id,) if unit == "requests" else (subject_id, unit), per_minute)
        if time.monotonic() < self._local_until:
            return await self._count_alone(limit, count)
        result: asyncio.Future[Rate] = asyncio.get_running_loop().create_future()
        self._hits.setdefault(limit, []).append(Hit(count, result))
        if self._counter is None:
            self._counter = asyncio.create_task(self._count_hits())
        return await result

    async def close(self) -> None:
        """Close the connections."""
        if self._counter is not None:
            await self._counter
        await self._redis.aclose()

    async def _count_hits(self) -> None:
        while self._hits:
            await until_quiet(lambda: sum(map(len, self._hits.values())), MAX_HITS)
            hits, self._hits = self._hits, {}
            try:
                await self._count(hits)
            except UNAVAILABLE as error:
                self._local_until = time.monotonic() + PAUSE_SECONDS
                log.warning("redis does not answer, this process counts requests alone: %s", error)
                for limit, of_limit in hits.items():
                    for hit in of_limit:
                        hit.answer(await self._count_alone(limit, hit.count))
            except Exception as error:
                for hit in (hit for of_limit in hits.values() for hit in of_limit if not hit.result.done()):
                    hit.result.set_exception(error)
        self._counter = None

    async def _count(self, hits: Mapping[Limit, Sequence[Hit]]) -> None:
        """Count all hits of a limit at once. If they exceed it together, count those that still fit one by one."""
        remaining: list[Entry] = []
        for limit, of_limit, rate in await self._acquire(list(hits.items())):
            if not rate.is_exceeded:
                _answer_all(of_limit, rate)
            elif len(of_limit) == 1:
                of_limit[0].answer(rate)
            else:
                for hit in of_limit:
                    if hit.count > rate.remaining:
                        hit.answer(rate)
                    else:
                        remaining.append((limit, [hit]))
        if remaining:
            for _, (hit,), rate in await self._acquire(remaining):
                hit.answer(rate)

    async def _acquire(self, entries: Sequence[Entry]) -> list[tuple[Limit, Sequence[Hit], Rate]]:
        results = []
        for (limit, hits), (is_allowed, window) in zip(entries, await self._storage.acquire(entries), strict=True):
            self._storage.window = window
            results.append((limit, hits, await _rate(self._shared, limit, is_allowed)))
        return results

    async def _count_alone(self, limit: Limit, count: int) -> Rate:
        if count < 0:  # Redis may have counted it
            key, expiry = limit.item.key_for(*limit.names), limit.item.get_expiry()
            _, _, current, _ = await self._memory.get_sliding_window(key, expiry)
            count = max(count, -current)
        is_allowed = await self._local.hit(limit.item, *limit.names, cost=count)
        return await _rate(self._local, limit, is_allowed)


def _window(reply: Sequence[Any]) -> Window:
    """A window as the package reads it. Times are in milliseconds in its script, and negative without a window."""
    previous, previous_ms, current, current_ms = (float(value or 0) for value in reply)
    return int(previous), max(0.0, previous_ms) / 1000, int(current), max(0.0, current_ms) / 1000


async def _rate(limiter: SlidingWindowCounterRateLimiter, limit: Limit, is_allowed: bool) -> Rate:
    stats = await limiter.get_window_stats(limit.item, *limit.names)
    return Rate(not is_allowed, limit.per_minute, stats.remaining, max(stats.reset_time - time.time(), 0.0))


def _answer_all(hits: Sequence[Hit], rate: Rate) -> None:
    """Say to each what was left after it. rate: after the last."""
    remaining = rate.remaining
    for hit in reversed(hits):
        hit.answer(Rate(False, rate.limit, remaining, rate.reset_seconds))
        remaining += hit.count
