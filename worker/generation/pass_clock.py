"""Estimates when the micro-batch on the device will be drawn, so that the next one is reserved shortly before."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

MAX_LEAD_SECONDS = 0.25
"""The next micro-batch is reserved so long before the end, at most: an urgent job that comes later waits for it."""

BRIEF_SECONDS = 0.12
"""A micro-batch that takes less ends soon after a reservation would be made; a claim costs one statement less. Those
with several passes take less (`claim_sizes`)."""

LEAD_SHARE = 8
"""Nor earlier than at the last eighth of the time on the device."""


class PassClock:
    """The end of what is on the device. Its thread calls `update` at each step; another thread waits for the end."""

    def __init__(self, device: threading.Lock) -> None:
        self._device = device
        self._condition = threading.Condition()
        self._began_at: float | None = None
        self._reserve_at: float | None = None
        self._is_disabled = False
        self.is_brief = False
        """Whether the last pass took less than BRIEF_SECONDS."""

    def disable(self) -> None:
        """Let `wait` return only when the device is free: what is on the device now may end this process."""
        self._is_disabled = True

    def update(self, share: float) -> None:
        """This share of the steps is done. The first call starts the clock."""
        now = time.monotonic()
        with self._condition:
            if self._is_disabled:
                return
            if self._began_at is None:
                self._began_at = now
            elif share > 0:
                total = (now - self._began_at) / share
                end = self._began_at + total
                self._reserve_at = end - min(MAX_LEAD_SECONDS, total / LEAD_SHARE)
                self._condition.notify_all()

    @contextmanager
    def hold_device(self) -> Iterator[None]:
        """Hold the device; afterwards wake who waits for it."""
        try:
            with self._device:
                try:
                    yield
                finally:
                    if self._began_at is not None:
                        self.is_brief = time.monotonic() - self._began_at < BRIEF_SECONDS
                    self._began_at = self._reserve_at = None
                    self._is_disabled = False
        finally:
            with self._condition:
                self._condition.notify_all()

    def wait(self) -> bool:
        """Wait until the device is nearly free. Returns whether it is still busy, so that there is time to prepare."""
        with self._condition:
            while self._device.locked():
                seconds = 1.0 if self._reserve_at is None else self._reserve_at - time.monotonic()
                if seconds <= 0:
                    return True
                self._condition.wait(min(seconds, 1.0))
        return False
