"""Threads that projects share fairly: `core/threads.py`."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future

import pytest

from core.threads import FairThreads, TooManyCalls
from tests.waiting import PATIENCE


class Calls:
    """Calls that last until the test ends them, and the order in which they began."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self._may_end: dict[str, threading.Event] = {}
        self._news = threading.Condition()

    def call(self, name: str) -> str:
        with self._news:
            self.order.append(name)
            event = self._may_end.setdefault(name, threading.Event())
            self._news.notify_all()
        assert event.wait(PATIENCE)
        return name

    def until_begun(self, count: int) -> list[str]:
        with self._news:
            assert self._news.wait_for(lambda: len(self.order) >= count, PATIENCE)
        return self.order

    def end(self, *names: str) -> None:
        with self._news:
            events = [self._may_end.setdefault(name, threading.Event()) for name in names]
        for event in events:
            event.set()


@pytest.fixture
def calls() -> Iterator[Calls]:
    started = Calls()
    yield started
    started.end(*[f"{project}{number}" for project in "abc" for number in range(9)])


def submit(threads: FairThreads, calls: Calls, *names: str) -> list[Future[str]]:
    return [threads.submit(name[0], calls.call, name) for name in names]


def test_a_project_leaves_a_thread_to_the_others(calls: Calls) -> None:
    threads = FairThreads("test", threads=3, per_project=2)

    submit(threads, calls, "a0", "a1", "a2", "a3")
    calls.until_begun(2)
    submit(threads, calls, "b0")

    assert sorted(calls.until_begun(3)) == ["a0", "a1", "b0"]
    threads.close()


def test_projects_that_wait_take_turns(calls: Calls) -> None:
    threads = FairThreads("test", threads=1, per_project=1)
    names = ["a0", "a1", "a2", "a3", "b0", "b1", "c0"]

    futures = submit(threads, calls, *names)
    calls.end(*names)

    assert [future.result(PATIENCE) for future in futures] == names
    assert calls.order == ["a0", "b0", "c0", "a1", "b1", "a2", "a3"]
    threads.close()


def test_a_call_beyond_the_limit_is_refused_and_the_next_is_not(calls: Calls) -> None:
    threads = FairThreads("test", threads=3, per_project=1, max_waiting=1)
    first, second = submit(threads, calls, "a0", "a1")

    with pytest.raises(TooManyCalls):
        submit(threads, calls, "a2")
    calls.end("a0", "a1")

    assert (first.result(PATIENCE), second.result(PATIENCE)) == ("a0", "a1")
    submit(threads, calls, "a3", "a4")
    threads.close()


def test_a_call_that_was_cancelled_while_it_waited_never_runs(calls: Calls) -> None:
    threads = FairThreads("test", threads=1, per_project=1)
    first, second, third = submit(threads, calls, "a0", "a1", "a2")

    assert second.cancel()
    calls.end("a0", "a2")

    assert (first.result(PATIENCE), third.result(PATIENCE)) == ("a0", "a2")
    assert calls.order == ["a0", "a2"]
    threads.close()


def test_an_error_reaches_the_caller_and_frees_the_thread() -> None:
    threads = FairThreads("test", threads=1, per_project=1)

    with pytest.raises(ZeroDivisionError):
        threads.submit("a", lambda: 1 // 0).result(PATIENCE)

    assert threads.submit("a", lambda: 1).result(PATIENCE) == 1
    threads.close()


def test_closing_drops_the_calls_that_wait(calls: Calls) -> None:
    threads = FairThreads("test", threads=1, per_project=1)
    running, waiting = submit(threads, calls, "a0", "a1")
    calls.until_begun(1)

    threads.close()
    calls.end("a0")

    assert running.result(PATIENCE) == "a0"
    with pytest.raises(CancelledError):
        waiting.result(PATIENCE)
