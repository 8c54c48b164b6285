"""Redis is the notifier, not the database: without it jobs start a little later, and none is lost."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from cli.local.embedded import EmbeddedValkey
from tests.stack import Stack
from tests.waiting import until

_numbers = count(1)


@pytest.fixture
def notifier(directory: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(directory / f"notifier{next(_numbers)}") as server:
        yield server


@pytest.fixture
def stack(directory: Path, fresh_database: Callable[[], str], notifier: EmbeddedValkey) -> Iterator[Stack]:
    with Stack(directory / f"redis{next(_numbers)}", fresh_database(), notifier.url) as stack:
        stack.api()
        stack.worker()
        yield stack


def test_flushing_redis_loses_nothing(stack: Stack, notifier: EmbeddedValkey) -> None:
    connection = redis.Redis.from_url(notifier.url)
    jobs = []
    for number in range(20):
        jobs.append(stack.submit(str(number)))
        connection.flushall()
    connection.close()

    assert {stack.final(job["id"])["status"] for job in jobs} == {"completed"}
    assert {stack.job(job["id"])["attempts"] for job in jobs} == {1}


def test_jobs_flow_while_redis_is_dead_and_after_it_is_back(stack: Stack, notifier: EmbeddedValkey) -> None:
    until(lambda: stack.client.get("/readyz").json()["queues"]["local"] == "ok")  # the worker announces itself
    notifier.kill()
    assert stack.client.get("/readyz").json() == {
        "status": "degraded",
        "checks": {"database": "ok", "redis": "down", "storage": "ok"},
        "queues": {"local": "ok", "nobody": "no_worker"},
    }

    during = [stack.submit(str(number)) for number in range(3)]
    assert {stack.final(job["id"])["status"] for job in during} == {"completed"}

    notifier.start()
    after = [stack.submit(str(number)) for number in range(3)]
    assert {stack.final(job["id"])["status"] for job in after} == {"completed"}


def test_a_hung_redis_does_not_hold_up_the_api(stack: Stack, notifier: EmbeddedValkey) -> None:
    stack.final(stack.submit()["id"])
    os.kill(notifier.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        jobs = [stack.submit(str(number)) for number in range(10)]
        seconds = time.monotonic() - began
        began = time.monotonic()
        connection = redis.Redis.from_url(notifier.url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
        with connection, pytest.raises(redis.TimeoutError):
            connection.ping()
        reference = time.monotonic() - began
        finals = {stack.final(job["id"])["status"] for job in jobs}
    finally:
        os.kill(notifier.pid, signal.SIGCONT)

    # A publisher that blocks would wait for Redis at each submit.
    assert seconds < len(jobs) * reference
    assert finals == {"completed"}
