"""Requests per minute: counted together by all processes, and by each alone while Redis is away."""

import asyncio
from collections.abc import Sequence

import pytest
from redis import Redis

from cli.local.embedded import EmbeddedValkey
from core.redis.rates import MAX_HITS, Rate, RequestRates
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


def hits_at_once(url: str, per_minute: int, subject_id: str, counts: Sequence[int]) -> list[Rate]:
    """The results of requests that come in the same moment."""

    async def hit_all() -> list[Rate]:
        process = RequestRates(settings_of({"SAFELIGHT_REDIS_URL": url}))
        results = await asyncio.gather(*(process.hit(subject_id, per_minute, count=count) for count in counts))
        await process.close()
        return results

    return asyncio.run(hit_all())


def test_what_comes_at_once_is_counted_as_if_it_came_one_after_the_other(valkey: EmbeddedValkey) -> None:
    rates = hits_at_once(valkey.url, 10, "proj_at_once", [1, 2, 3])

    assert [(rate.is_exceeded, rate.remaining) for rate in rates] == [(False, 9), (False, 7), (False, 4)]


def test_what_exceeds_a_limit_together_is_allowed_as_far_as_it_fits(valkey: EmbeddedValkey) -> None:
    rates = hits_at_once(valkey.url, 6, "proj_together_too_many", [2, 7, 3, 2, 1, 1])

    assert [rate.is_exceeded for rate in rates] == [False, True, False, True, False, True]
    assert sum(count for count, rate in zip([2, 7, 3, 2, 1, 1], rates, strict=True) if not rate.is_exceeded) == 6
    assert [rate.remaining for rate in rates] == [4, 6, 1, 1, 0, 0]


def test_requests_at_once_are_each_counted_without_redis() -> None:
    with closed_port() as port:
        rates = hits_at_once(f"redis://127.0.0.1:{port}", 2, "proj_at_once_alone", [1, 1, 1])

    assert [(rate.is_exceeded, rate.remaining) for rate in rates] == [(False, 1), (False, 0), (True, 0)]


def test_no_more_is_taken_back_than_was_counted(valkey: EmbeddedValkey) -> None:
    async def take_back_twice(url: str, subject_id: str) -> list[Rate]:
        process = RequestRates(settings_of({"SAFELIGHT_REDIS_URL": url}))
        results = [await process.hit(subject_id, 10, "images", count) for count in (4, -4, -4, 11, 10, 1)]
        await process.close()
        return results

    with closed_port() as port:
        for url in (valkey.url, f"redis://127.0.0.1:{port}"):
            rates = asyncio.run(take_back_twice(url, "proj_taken_back"))

            assert [rate.remaining for rate in rates] == [6, 10, 10, 10, 0, 0]
            assert [rate.is_exceeded for rate in rates] == [False, False, False, True, False, True]


def test_a_request_is_counted_though_others_keep_arriving(valkey: EmbeddedValkey) -> None:
    async def are_counted_together() -> bool:
        process = RequestRates(settings_of({"SAFELIGHT_REDIS_URL": valkey.url}))
        hits = []
        for _ in range(3 * MAX_HITS):
            hits.append(asyncio.create_task(process.hit("proj_crowd", 100_000)))
            await asyncio.sleep(0)
        results, _ = await asyncio.wait(hits, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*hits)
        await process.close()
        return hits[-1] in results

    assert not asyncio.run(are_counted_together())
