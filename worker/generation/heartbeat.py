"""The heartbeat of a micro-batch: keeps its lease while the device makes progress, and hears what is not wanted.

Every `cancel_check` it asks the database which jobs are still ours and wanted; every `heartbeat` it renews the lease.
It stops renewing when nothing has moved for `stall_timeout`: a hung device must not keep its jobs. A job that is not
among the renewed ones is lost, and whatever we would write about it is refused by the fence.
"""

import logging
import os
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Self
from uuid import UUID

from core import jobs, leases
from core.db import UNAVAILABLE
from core.errors import WorkerStalled, first_line
from worker.generation.context import Context

log = logging.getLogger(__name__)

EXIT_STALLED = 70
"""Exit code of a worker whose device hangs: sysexits' EX_SOFTWARE. The supervisor starts a new one."""


class Heartbeat:
    """A context manager: beats in a thread of its own until it is left."""

    def __init__(self, context: Context, lease: UUID, job_ids: Sequence[str]) -> None:
        self._context = context
        self._settings = context.settings
        self.lease = lease
        self._ours = set(job_ids)
        self._stopped = threading.Event()
        self._renewed_at = time.monotonic()
        self._moved_at: float | None = None  # loading a model may take its time; the clock runs from the first move
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat-{lease.hex[:8]}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def moved(self, ahead: timedelta = timedelta(0)) -> None:
        """Note that the device made progress; or, with `ahead`, that for so long none will be seen, and rightly."""
        self._moved_at = time.monotonic() + ahead.total_seconds()

    def done(self, job_id: str) -> None:
        """A job is settled: it is ours no more, and that is no loss."""
        self._ours.discard(job_id)

    def wants(self, job_id: str) -> bool:
        """Whether a job is still ours and its owner still wants it."""
        return job_id in self._ours

    @property
    def wants_any(self) -> bool:
        """Whether there is still a job to work for."""
        return bool(self._ours)

    def wait(self, seconds: float) -> None:
        """Pause between two tries of a write, as long as the heartbeat goes on."""
        self._stopped.wait(seconds)

    def _beat(self) -> None:
        while not self._stopped.wait(self._settings.cancel_check.total_seconds()) and self._ours:
            try:
                self._look()
            except UNAVAILABLE as error:
                self._endure(first_line(error))
            # Looked first: a process that was frozen as a whole has lost its jobs, but its device is well.
            if self._ours and self._has_stalled():
                self._give_up()

    def _has_stalled(self) -> bool:
        patience = self._settings.stall_timeout.total_seconds()
        return self._moved_at is not None and time.monotonic() - self._moved_at > patience

    def _look(self) -> None:
        """Renew the lease if it is time to, and let go of jobs that are lost or not wanted."""
        now = time.monotonic()
        due = now - self._renewed_at >= self._settings.heartbeat.total_seconds()
        statement = leases.renew(self.lease, self._settings.lease) if due else leases.get_cancel_requests(self.lease)
        rows = self._context.database.execute(statement)
        if due:
            self._renewed_at = now
        self._lose(self._ours - {row.id for row in rows})
        for row in rows:
            if row.cancel_requested_at is not None and row.id in self._ours:
                self._ours.discard(row.id)
                self._context.database.execute(jobs.acknowledge_cancel(row.id, self.lease))
                self._context.progress.changed([row.id])

    def _lose(self, job_ids: set[str]) -> None:
        if job_ids:
            log.warning("lease %s lost for %s", self.lease.hex[:8], ", ".join(sorted(job_ids)))
            self._ours -= job_ids

    def _endure(self, reason: str) -> None:
        """The database is away. Our lease holds until it would run out; after that, somebody else may have the jobs."""
        if time.monotonic() - self._renewed_at >= self._settings.lease.total_seconds():
            self._lose(set(self._ours))
        else:
            log.warning("heartbeat of %s found no database: %s", self.lease.hex[:8], reason)

    def _give_up(self) -> None:
        """The device hangs and its thread cannot be stopped: give the jobs back and end the process."""
        log.critical("no progress for %s; giving back %s and exiting", self._settings.stall_timeout, self._ours)
        try:
            for job_id in sorted(self._ours):
                self._context.database.execute(
                    jobs.requeue(job_id, self.lease, "stalled", error=WorkerStalled(), delay=self._settings.retry_delay)
                )
        except UNAVAILABLE:
            log.warning("the database is away; the lease will run out by itself")
        os._exit(EXIT_STALLED)
