"""OpenAI that is busy, or fails for a while: jobs wait, and no attempt is lost."""

import time
from itertools import pairwise

from tests.faults.provider.calls import a_worker, reasons, row, submit
from tests.openai_stub import DRAWN, WAYS, OpenAIStub, Way, error
from tests.stack import Stack


def test_calls_run_beside_each_other(service: Stack, openai: OpenAIStub) -> None:
    openai.way = lambda _: Way(draws=True, seconds=2.0)
    a_worker(service, concurrency=16)
    began = time.monotonic()
    asked = [submit(service, f"a cat, number {number}") for number in range(32)]

    assert all(service.final(job_id)["status"] == "completed" for job_id in asked)
    seconds = time.monotonic() - began
    print(f"\n32 calls of 2 s each by 16 threads: {seconds:.1f} s, at most {openai.most_at_once} at a time")
    assert openai.most_at_once >= 12
    assert len(openai.received) == openai.billed == 32


def test_a_storm_of_429_costs_no_job_an_attempt(service: Stack, openai: OpenAIStub) -> None:
    count, threads = 24, 8
    storm = error(429, "rate_limit_exceeded", retry_after="1")
    # From the first request on: how long a worker takes to start depends on what else the machine does.
    openai.way = lambda received: storm if received.at < openai.received[0].at + 5 else DRAWN
    a_worker(service, concurrency=threads)
    asked = [submit(service, f"a cat, number {number}") for number in range(count)]

    finals = [service.final(job_id) for job_id in asked]

    limited = len(openai.received) - count
    rows = [row(service, job_id) for job_id in asked]
    print(f"\n5 s of 429 with Retry-After 1, {threads} threads: {limited} refused requests, {count} jobs completed")
    assert [final["status"] for final in finals] == ["completed"] * count
    assert {(found.failures, found.crashes) for found in rows} == {(0, 0)}
    assert {reason for job_id in asked for reason in reasons(service, job_id)} == {"provider_rate_limited"}
    assert limited <= 5 * threads  # a burst of at most `threads` each time that the provider allows one
    assert openai.billed == count


def test_a_provider_that_fails_is_left_alone_and_tried_one_call_at_a_time(service: Stack, openai: OpenAIStub) -> None:
    limit, threads, count = 3, 2, 8
    openai.way = lambda _: WAYS["500"]
    a_worker(
        service, concurrency=threads,
        SAFELIGHT_OPENAI_BREAKER_FAILURES=str(limit), SAFELIGHT_OPENAI_BREAKER_PAUSE="0.5", SAFELIGHT_MAX_ATTEMPTS="3",
    )  # fmt: skip
    service.worker("local")
    asked = [submit(service, f"a cat, number {number}") for number in range(count)]
    openai.until(limit + threads)
    local = service.final(service.submit("a cat")["id"])
    openai.until(limit + threads + 2)
    openai.way = lambda _: DRAWN
    finals = [service.final(job_id) for job_id in asked]

    said = [reason for job_id in asked for reason in reasons(service, job_id)]
    completed = sum(final["status"] == "completed" for final in finals)
    # At most `threads` more were under way when the breaker opened; from then on they come one by one.
    tries = [received.at for received in openai.received[limit + threads - 1 : limit + threads + 2]]
    gaps = [later - earlier for earlier, later in pairwise(tries)]
    refused = len(openai.received) - completed
    print(
        f"\nbreaker after {limit}: {refused} failed requests, gaps of {gaps[0]:.1f} and {gaps[1]:.1f} s, "
        f"{said.count('provider_paused')} waits; {completed} of {count} jobs completed"
    )
    assert local["status"] == "completed"
    assert min(gaps) >= 0.45
    assert "provider_paused" in said
    assert refused <= limit + threads + 3
    assert completed >= count - refused // 3  # only who failed three times itself is lost
