"""Requests per minute: counted together by all processes, and by each alone while Redis is away."""

import asyncio
from collections.abc import Sequence

import pytest
from redis import Redis

from cli.local.embedded import EmbeddedValkey
from core.redis.rates import Rate, RequestRates
from tests.stack import closed_port, settings_of


def hits(urls: Sequence[str], per_minute: int, subject_id: str) -> list[Rate]:
    """The result of a request at each of these processes, one after another."""

    async def hit_all() -> list[Rate]:
        processes = {url: RequestRates(settings_of({"SAFELIGHT_REDIS_URL": url})) for url in set(urls)}
        others = RequestRates(settings_of({"SAFELIGHT_REDIS_URL": urls[0]}))
        results = [await processes[url].hit(subject_id, per_minute) for url in urls]
        results.append(await others.hit(subject_id, per_minute))
        for process in (*processes.values(), others):
            await process.close()
        return results

    return asyncio.run(hit_all())


def test_processes_count_together(valkey: EmbeddedValkey) -> None:
    rates = hits([valkey.url] * 2, 2, "proj_together")

    assert [(rate.is_exceeded, rate.remaining) for rate in rates] == [(False, 1), (False, 0), (True, 0)]
    assert all(0 <= rate.reset_seconds <= 120 for rate in rates)


def test_without_redis_each_process_counts_alone_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with closed_port() as port:
        rates = hits([f"redis://127.0.0.1:{port}"] * 3, 2, "proj_alone")

    assert [rate.is_exceeded for rate in rates] == [False, False, True, False]
    assert caplog.text.count("this process counts requests alone") == 2


def test_rates_are_counted_after_redis_has_forgotten_the_scripts(valkey: EmbeddedValkey) -> None:
    hits([valkey.url], 4, "proj_scripts")
    with Redis.from_url(valkey.url) as redis:
        redis.script_flush()

    rates = hits([valkey.url], 4, "proj_scripts")

    assert [(rate.is_exceeded, rate.remaining) for rate in rates] == [(False, 1), (False, 0)]
