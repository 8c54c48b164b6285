"""A loop that runs its steps again and again, whatever happens, in one process at a time."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial

from core.db import UNAVAILABLE
from core.errors import StorageUnavailable, first_line
from core.locks import SessionLock
from core.settings import Settings

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""A step that runs for long checks the lock this often."""

Step = Callable[[], Iterator[None]]
"""Part of a round. It yields wherever it may be interrupted, and can be repeated from its beginning at any time."""


class Loop:
    """Runs its steps while it holds the lock of its name.

    application: what Postgres calls the connection of the lock. interval: least time between two rounds, of which the
    first comes after one; by default a round is due every `settings.sweep`, when the lock is checked, too.
    """

    def __init__(
        self, settings: Settings, name: str, application: str, steps: Sequence[Step], interval: timedelta | None = None
    ) -> None:
        self._name = name
        self._steps = steps
        self._pause = settings.sweep.total_seconds()
        self._interval = 0.0 if interval is None else interval.total_seconds()
        self._due_at = time.monotonic() + self._interval
        idle = max(settings.lease, 3 * settings.sweep)
        self._lock = SessionLock(settings, f"safelight {name}", idle=idle, application=application)
        self._is_active: bool | None = None
        self._checked_at = float("-inf")

    def run(self, stop: threading.Event) -> None:
        """Run rounds until `stop` is set. No error ends the loop: without it nobody does its work."""
        while not stop.is_set():
            started = time.monotonic()
            self._run_round(stop)
            stop.wait(max(0.0, started + self._pause - time.monotonic()))
        self._lock.close()

    def _run_round(self, stop: threading.Event) -> None:
        if not self._survive(self._acquire) or time.monotonic() < self._due_at:
            return
        for step in self._steps:
            self._survive(partial(self._run_step, step, stop))
            if stop.is_set() or not self._is_active:
                return
        self._due_at = time.monotonic() + self._interval

    def _run_step(self, step: Step, stop: threading.Event) -> bool:
        for _ in step():
            is_fresh = time.monotonic() - self._checked_at < CHECK_SECONDS
            if stop.is_set() or not (is_fresh or self._acquire()):
                return False
        return True

    def _acquire(self) -> bool:
        was_active, self._is_active = self._is_active, False
        self._is_active = self._lock.acquire()
        self._checked_at = time.monotonic()
        if self._is_active != was_active:
            log.info("%s: %s", self._name, "active" if self._is_active else "standby, another sweep is active")
        return self._is_active

    def _survive(self, action: Callable[[], bool]) -> bool:
        """The result of an action; False after an error, which is logged."""
        try:
            return action()
        except UNAVAILABLE as error:
            log.warning("%s: the database is unavailable: %s", self._name, first_line(error))
        except StorageUnavailable as error:
            log.warning("%s: the storage is unavailable: %s", self._name, error.message)
        except Exception:
            log.exception("%s failed and goes on", self._name)
        return False
