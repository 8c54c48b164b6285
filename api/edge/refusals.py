"""Log lines about requests that were refused: short, and at most one for each kind in some seconds.

A stranger decides how many requests are refused, so it must not decide how much is logged.
"""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0
MAX_LENGTH = 300


class Refusals:
    """Counts refusals by kind, and logs the first of each interval with the number of those that were not logged."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next: dict[str, float] = {}
        self._silent: dict[str, int] = {}

    def record(self, kind: str, message: str, *arguments: object) -> None:
        """Log a refusal. kind: a word of ours, never from the request."""
        now = self._clock()
        if now < self._next.get(kind, 0.0):
            self._silent[kind] = self._silent.get(kind, 0) + 1
            return
        self._next[kind] = now + INTERVAL_SECONDS
        count = self._silent.pop(kind, 0)
        text = (message % arguments)[:MAX_LENGTH]
        log.warning("refused (%s): %s%s", kind, text, f"; {count} more since the last line" if count else "")


refusals = Refusals()
"""The refusals of this process."""
