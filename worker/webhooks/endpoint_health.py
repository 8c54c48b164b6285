"""Which destinations are fast: decides which of them get the slots of a deliverer while many hang.

A destination is fast when its last delivery ended within FAST_SECONDS, whatever the outcome. Half of the slots are
reserved for fast destinations. The others share the rest, one slot each: new destinations first, then the slow ones, in
order of their last turn. So destinations that hang delay only each other, and a destination that is new or has
recovered waits for one turn, not for a backlog. The memory is per process and bounded; a destination that drops out of
it counts as new.

A fast destination is quick when its last delivery ended within QUICK_SECONDS. It may have more deliveries in transit
than other fast ones. These additional ones of all destinations share a quarter of the slots.
"""

import threading

FAST_SECONDS = 1.0
QUICK_SECONDS = 0.1
MAX_DESTINATIONS = 1000
"""Destinations of each kind; every claim carries their names."""


class EndpointHealth:
    """The fast and the slow destinations. Safe to share between threads."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._fast: dict[str, bool] = {}  # whether it is quick
        self._slow: dict[str, bool] = {}
        self._lock = threading.Lock()

    @property
    def shared_slots(self) -> int:
        """Slots for all destinations that are not fast."""
        return max(1, self._slots // 2)

    @property
    def additional_slots(self) -> int:
        """Slots for deliveries to quick destinations beyond those that every fast destination may have."""
        return self._slots // 4

    def record(self, destination: str, seconds: float) -> None:
        """Record how long a delivery took."""
        with self._lock:
            self._fast.pop(destination, None)
            self._slow.pop(destination, None)
            kind = self._fast if seconds <= FAST_SECONDS else self._slow
            kind[destination] = seconds <= QUICK_SECONDS
            if len(kind) > MAX_DESTINATIONS:
                del kind[next(iter(kind))]

    def list_fast(self) -> list[str]:
        """The fast destinations."""
        with self._lock:
            return list(self._fast)

    def list_quick(self) -> list[str]:
        """The quick ones of the fast destinations."""
        with self._lock:
            return [destination for destination, is_quick in self._fast.items() if is_quick]

    def list_slow(self) -> list[str]:
        """The slow destinations, longest without a turn first."""
        with self._lock:
            return list(self._slow)
