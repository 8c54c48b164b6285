"""The open connections of an API process: how many there may be, and which one makes room for a new one.

Strangers can open connections and send nothing. When all are in use, a new one replaces the one that has waited longest
for its client, after a short grace; a complete request replaces one at once. If all others have a request that runs,
only health checks are answered.
"""

import resource
from typing import Protocol

from core.settings import Settings

GRACE_SECONDS = 1.0
"""Time that a new connection has for its headers, even if others come."""

SURPLUS = 32
"""Connections above the maximum, for health checks and for refusals that say why."""

BACKLOG = 128
"""Connections that the kernel accepts before the process does. They take file descriptors all at once."""

OTHER_FILES = 200
"""File descriptors for Redis, storage, uploads, decoders and the log. Those of the database are counted apart."""


class Waiting(Protocol):
    """A connection that waits for its client."""

    since: float

    def drop(self) -> None:
        """End it at once."""

    def check(self, now: float) -> None:
        """End it if its client is too slow."""


class Connections:
    """The connections of one process. now: the time of the event loop, in seconds."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: dict[Waiting, None] = {}
        self._unheard: dict[Waiting, None] = {}
        self._idle: dict[Waiting, None] = {}

    def __len__(self) -> int:
        return len(self._open)

    @property
    def is_full(self) -> bool:
        """Whether there are more connections than may have a request."""
        return len(self._open) > self.limit

    def add(self, connection: Waiting, now: float) -> None:
        """A new connection. If there are too many, one of them is dropped."""
        self._open[connection] = self._unheard[connection] = None
        if not self.is_full:
            return
        if (victim := self._replaceable(now)) is not None:
            victim.drop()
        elif len(self._open) > self.limit + SURPLUS:
            next(iter(self._unheard)).drop()

    def make_room(self, connection: Waiting) -> bool:
        """Whether a connection with complete headers may have its request. Those that wait are dropped for it."""
        while self.is_full:
            candidates = (other for group in (self._unheard, self._idle) for other in group if other is not connection)
            if (victim := next(candidates, None)) is None:
                break
            victim.drop()
        return not self.is_full

    def begin_request(self, connection: Waiting) -> None:
        """Its headers are complete."""
        self._unheard.pop(connection, None)
        self._idle.pop(connection, None)

    def end_request(self, connection: Waiting) -> None:
        """Its response is complete, and the client may send another request."""
        if connection in self._open:
            self._idle[connection] = None

    def remove(self, connection: Waiting) -> None:
        """It is closed."""
        for group in (self._open, self._unheard, self._idle):
            group.pop(connection, None)

    def check(self, now: float) -> None:
        """End the connections whose clients are too slow. Called every second."""
        for connection in list(self._open):
            connection.check(now)

    def _replaceable(self, now: float) -> Waiting | None:
        """The connection that makes room: the oldest without headers, else the one that has been idle longest."""
        oldest = next(iter(self._unheard))
        if now - oldest.since > GRACE_SECONDS:
            return oldest
        return next(iter(self._idle), None)


def connection_limit(settings: Settings) -> int:
    """`max_connections`, or fewer if the process may not open as many files. Raises the soft limit of files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserve = OTHER_FILES + BACKLOG + SURPLUS + settings.database_pool_size
    target = settings.max_connections + reserve
    if soft != resource.RLIM_INFINITY and soft < target:
        soft = target if hard == resource.RLIM_INFINITY else min(target, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        return max(1, min(settings.max_connections, soft - reserve))
    return settings.max_connections
