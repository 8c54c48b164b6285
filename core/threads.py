"""Threads for one purpose, which projects share fairly: slow calls of one project do not delay those of another.

Each purpose (decoding images, testing webhooks) has threads of its own, so that a purpose cannot use up the threads of
another. asyncio's own threads are for name lookups alone; tests/gates/test_threads.py checks it.
"""

import asyncio
import threading
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

Call = tuple["Future[Any]", Callable[[], Any]]


class TooManyCalls(Exception):
    """The project has as many calls in progress and waiting as it may have."""


class FairThreads:
    """Runs calls of projects in threads.

    A free thread takes a call of the project that has the fewest calls in progress, in turn among equals.

    threads: their maximum number. per_project: calls of a project that run at once; less than `threads`, so that a call
    of another project starts at once. max_waiting: further calls of a project that may wait; None: any number.
    """

    def __init__(self, purpose: str, threads: int, per_project: int, max_waiting: int | None = None) -> None:
        self._executor = ThreadPoolExecutor(threads, purpose)
        self._threads = threads
        self._per_project = per_project
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._in_progress: Counter[str] = Counter()
        self._queues: dict[str, deque[Call]] = {}
        self._last_start: dict[str, int] = {}  # by project; the starts are numbered
        self._starts = count(1)

    def submit(self, project_id: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run a call of a project. Raises TooManyCalls if too many of its calls wait."""
        future: Future[T] = Future()
        with self._lock:
            queue = self._queues.setdefault(project_id, deque())
            calls = self._in_progress[project_id] + len(queue)
            if self._max_waiting is not None and calls >= self._per_project + self._max_waiting:
                self._drop_idle(project_id)
                raise TooManyCalls
            queue.append((future, lambda: function(*args, **kwargs)))
        self._start_calls()
        return future

    async def run(self, project_id: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a call of a project and wait for its result, for asynchronous code.

        If the caller is cancelled, a call that waits is dropped. One that runs keeps its thread until it ends.
        """
        return await asyncio.wrap_future(self.submit(project_id, function, *args, **kwargs))

    def close(self) -> None:
        """Drop the calls that wait; those that run end by themselves."""
        with self._lock:
            queues = list(self._queues.values())
            self._queues.clear()
        for future, _ in (call for queue in queues for call in queue):
            future.cancel()
        self._executor.shutdown(wait=False)

    def _start_calls(self) -> None:
        with self._lock:
            while (project_id := self._next_project()) is not None:
                future, call = self._queues[project_id].popleft()
                if not self._queues[project_id]:
                    del self._queues[project_id]
                if future.set_running_or_notify_cancel():
                    self._in_progress[project_id] += 1
                    self._last_start[project_id] = next(self._starts)
                    self._executor.submit(self._run, project_id, future, call)

    def _next_project(self) -> str | None:
        if self._in_progress.total() >= self._threads:
            return None
        ready = [name for name in self._queues if self._in_progress[name] < self._per_project]
        return min(ready, key=lambda name: (self._in_progress[name], self._last_start.get(name, 0)), default=None)

    def _run(self, project_id: str, future: "Future[Any]", call: Callable[[], Any]) -> None:
        try:
            result, error = call(), None
        except BaseException as exception:  # the caller gets it
            result, error = None, exception
        with self._lock:
            self._in_progress[project_id] -= 1
            self._drop_idle(project_id)
        self._start_calls()
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _drop_idle(self, project_id: str) -> None:
        if not self._queues.get(project_id):
            self._queues.pop(project_id, None)
            if not self._in_progress[project_id]:
                del self._in_progress[project_id]
                self._last_start.pop(project_id, None)
