"""The lease of a fine-tuning job, which a thread renews while the job makes progress."""

import logging
import threading
import time
from types import TracebackType
from typing import Self

from core.db import UNAVAILABLE, Database
from core.errors import first_line
from core.fine_tuning import transitions
from core.fine_tuning.rows import FineTuningJobRow
from core.settings import Settings

log = logging.getLogger(__name__)

STALL_SECONDS = 600.0
"""Without progress for so long, the lease is not renewed any more. To load a large model takes minutes."""


class Superseded(Exception):
    """The job was cancelled, or another worker has claimed it."""


class Stopping(Exception):
    """This worker is about to stop."""


class TrainingLease:
    """The lease of a claimed job, as a context. stop: set when this worker is to stop."""

    def __init__(self, settings: Settings, database: Database, job: FineTuningJobRow, stop: threading.Event) -> None:
        if job.lease is None:
            raise ValueError(f"{job.id} has no lease")
        self.job = job
        self.token = job.lease
        self._length = settings.lease
        self._interval = settings.heartbeat.total_seconds()
        self._database = database
        self._stop = stop
        self._is_over = threading.Event()
        self._is_lost = False
        self._progress_at = time.monotonic()
        self._thread = threading.Thread(target=self._renew, name="training lease", daemon=True)

    def check(self) -> None:
        """Report progress. Raises Superseded if the lease is lost, Stopping if this worker is to stop."""
        self._progress_at = time.monotonic()
        if self._is_lost:
            raise Superseded
        if self._stop.is_set():
            raise Stopping

    def _renew(self) -> None:
        while not self._is_over.wait(self._interval):
            if time.monotonic() - self._progress_at > STALL_SECONDS:
                log.error("fine-tuning job %s makes no progress; its lease ends", self.job.id)
                return
            try:
                rows = self._database.execute(transitions.renew(self.job.id, self.token, self._length))
            except UNAVAILABLE as error:
                log.warning("the database is unavailable: %s", first_line(error))
                continue
            if not rows:
                self._is_lost = True
                return

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
