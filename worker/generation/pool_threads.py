"""The threads of Celery's pool: how many of them run a queue, for messages and for wake-ups together."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PoolThreads:
    """Counts the threads that are busy."""

    def __init__(self) -> None:
        self._busy = 0
        self._condition = threading.Condition()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """The thread that runs this block is busy."""
        with self._condition:
            self._busy += 1
        try:
            yield
        finally:
            self.release()

    def wait(self, size: int) -> None:
        """Wait until fewer than `size` threads are busy."""
        with self._condition:
            self._condition.wait_for(lambda: self._busy < size)

    def reserve(self, size: int) -> bool:
        """Count a thread as busy before it begins, if fewer than `size` are. Returns whether it is counted."""
        with self._condition:
            is_free = self._busy < size
            self._busy += is_free
        return is_free

    def release(self) -> None:
        """A thread is busy no longer."""
        with self._condition:
            self._busy -= 1
            self._condition.notify_all()
