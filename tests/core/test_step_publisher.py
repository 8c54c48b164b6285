"""The steps of jobs are published in a thread of their own, before what is said of the jobs after them."""

import json
from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import pytest
from redis import Redis

from cli.local.embedded import EmbeddedValkey
from core.redis.connection import KEY_PREFIX
from core.redis.progress import Progress, Step
from tests.stack import settings_of
from worker.generation.step_publisher import StepPublisher


@pytest.fixture
def progress(valkey: EmbeddedValkey) -> Progress:
    return Progress(settings_of({"SAFELIGHT_REDIS_URL": valkey.url}))


@pytest.fixture
def messages(valkey: EmbeddedValkey) -> Iterator[Iterator[Any]]:
    """The messages about two jobs, as they come."""
    with Redis.from_url(valkey.url) as redis, redis.pubsub() as pubsub:
        pubsub.subscribe(*(f"{KEY_PREFIX}job:{name}" for name in ("steps_1", "steps_2")))
        received = pubsub.listen()
        assert [next(received)["type"] for _ in range(2)] == ["subscribe", "subscribe"]
        yield (json.loads(message["data"]) for message in received)


def step(number: int) -> Step:
    return Step(attempt=1, step=number, steps=5)


def test_steps_are_published_soon_and_before_a_result(progress: Progress, messages: Iterator[Any]) -> None:
    publisher = StepPublisher(progress)

    publisher.publish({"steps_1": step(1)})
    assert next(messages) == {"type": "progress", "attempt": 1, "step": 1, "steps": 5}

    for number in range(2, 6):
        publisher.publish({"steps_1": step(number)})
    publisher.flush()
    progress.publish_changes(["steps_1"])

    numbers = []
    while (message := next(messages))["type"] == "progress":
        numbers.append(message["step"])
    assert message == {"type": "changed"}
    assert numbers == sorted(numbers)
    assert numbers[-1] == 5


class SlowProgress(Progress):
    """One whose Redis hangs until it is told to go on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.has_begun, self.may_go_on = Event(), Event()
        self.published: list[dict[str, int]] = []

    def publish_steps(self, steps: Any) -> None:
        self.published.append({job_id: step["step"] for job_id, step in steps.items()})
        self.has_begun.set()
        self.may_go_on.wait()
        self._progress.publish_steps(steps)


def test_while_redis_hangs_only_the_last_step_of_each_job_waits(progress: Progress, messages: Iterator[Any]) -> None:
    slow = SlowProgress(progress)
    publisher = StepPublisher(slow)
    publisher.publish({"steps_1": step(1)})
    slow.has_begun.wait()
    for number in (2, 3, 4):
        publisher.publish({"steps_1": step(number), "steps_2": step(number)})
    recorder = Thread(target=publisher.flush)
    recorder.start()
    recorder.join(0.05)
    assert slow.published == [{"steps_1": 1}]  # results wait for the step that is under way

    slow.may_go_on.set()
    recorder.join()

    assert slow.published == [{"steps_1": 1}, {"steps_1": 4, "steps_2": 4}]
    assert [next(messages)["step"] for _ in range(3)] == [1, 4, 4]
