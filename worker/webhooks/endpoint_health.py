"""Which receivers are quick, as one deliverer has seen it: what decides who gets its slots while many hang.

A lane is quick when its last sending was over within QUICK_SECONDS, whatever came of it. Half of the slots are kept for
quick lanes. All others share the rest, one slot each: those not heard of yet first, then the slow ones, whose last turn
is longest ago first. So however many receivers hang, they hold up each other alone, and one that has recovered, or is
new, waits a turn and no backlog. The memory is the process's own and bounded; what falls out is sent like what is new.
"""

import threading

QUICK_SECONDS = 1.0
MAX_DESTINATIONS = 1000
"""Lanes of each kind; every claim carries their names."""


class EndpointHealth:
    """What is known of lanes. Safe to share between threads."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._quick: dict[str, None] = {}
        self._slow: dict[str, None] = {}
        self._lock = threading.Lock()

    @property
    def for_others(self) -> int:
        """Slots that lanes that are not quick may hold at a time."""
        return max(1, self._slots // 2)

    def note(self, destination: str, seconds: float) -> None:
        """A sending is over."""
        with self._lock:
            self._quick.pop(destination, None)
            self._slow.pop(destination, None)
            kind = self._quick if seconds <= QUICK_SECONDS else self._slow
            kind[destination] = None
            if len(kind) > MAX_DESTINATIONS:
                del kind[next(iter(kind))]

    def quick(self) -> list[str]:
        """The lanes that are quick."""
        with self._lock:
            return list(self._quick)

    def slow(self) -> list[str]:
        """The lanes that are slow, the one whose turn is longest ago first."""
        with self._lock:
            return list(self._slow)
