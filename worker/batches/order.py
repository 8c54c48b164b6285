"""The order in which the batch processor serves projects."""

import threading

MAX_PROJECTS = 1000
"""Projects whose turn is stored."""


class FairOrder:
    """The projects whose batches are in progress, and the order in which projects were served. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_progress: set[str] = set()
        self._last_served: dict[str, None] = {}  # in order

    @property
    def in_progress(self) -> set[str]:
        """The projects that have a batch in progress."""
        with self._lock:
            return set(self._in_progress)

    @property
    def last_served(self) -> list[str]:
        """Projects by their last batch, the oldest first. Those that were never served are not in it."""
        return list(self._last_served)

    def begin(self, project_id: str) -> None:
        """A batch of a project begins. For one thread."""
        with self._lock:
            self._in_progress.add(project_id)
        self._last_served.pop(project_id, None)
        self._last_served[project_id] = None
        while len(self._last_served) > MAX_PROJECTS:
            del self._last_served[next(iter(self._last_served))]

    def end(self, project_id: str) -> None:
        """The batch of a project ended."""
        with self._lock:
            self._in_progress.discard(project_id)
