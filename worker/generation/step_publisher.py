"""Publishes the steps of running jobs in a thread of its own, so that the device does not wait for Redis."""

import threading
from collections.abc import Mapping

from core.redis.progress import Progress, Step


class StepPublisher:
    """Steps that have not been published yet are replaced by later ones of the same job."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._steps: dict[str, Step] = {}
        self._has_steps = threading.Condition()
        self._sending = threading.Lock()
        self._thread: threading.Thread | None = None

    def publish(self, steps: Mapping[str, Step]) -> None:
        """Publish the steps of jobs, by id, soon. Returns at once."""
        with self._has_steps:
            self._steps.update(steps)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="steps", daemon=True)
                self._thread.start()
            self._has_steps.notify()

    def flush(self) -> None:
        """Publish what waits, before something else is said of the same jobs."""
        with self._sending:
            with self._has_steps:
                steps, self._steps = self._steps, {}
            if steps:
                self._progress.publish_steps(steps)

    def _run(self) -> None:
        while True:
            with self._has_steps:
                self._has_steps.wait_for(lambda: bool(self._steps))
            self.flush()
