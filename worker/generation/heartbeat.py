"""The heartbeat of a micro-batch: renews its lease while the device makes progress, and notices cancelled jobs.

Every `cancel_check` it reads which jobs are still under the lease and which their owners cancelled; every `heartbeat`
it renews the lease. After `stall_timeout` without progress it ends the process: a hung device must not keep its jobs.
A job that is not among the renewed ones is lost: the database refuses whatever we would write about it.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Self
from uuid import UUID

from core import jobs, leases
from core.db import UNAVAILABLE
from core.errors import first_line
from core.generation_errors import WorkerStalled
from core.telemetry import metrics
from core.telemetry.job_metrics import record_ends
from worker.generation.context import Context

log = logging.getLogger(__name__)

EXIT_STALLED = 70
"""Exit code of a worker whose device hangs: sysexits' EX_SOFTWARE. The supervisor starts a new one."""


class Heartbeat:
    """A context manager: starts the jobs and renews the lease, in a thread of its own, until it is left."""

    def __init__(
        self,
        context: Context,
        lease: UUID,
        job_ids: Sequence[str],
        start: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        """start: starts the jobs; returns the ids of those that are ours. Until then all count as active."""
        self._context = context
        self._settings = context.settings
        self.lease = lease
        self._active = set(job_ids)
        self._start = start
        self._has_started = threading.Event()
        if start is None:
            self._has_started.set()
        self._stop = threading.Event()
        self._renewed_at = time.monotonic()
        self._progress_at: float | None = None  # loading a model may take long; the clock runs from the first report
        self._thread = threading.Thread(target=self._run, name=f"heartbeat-{lease.hex[:8]}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def report_progress(self, ahead: timedelta = timedelta(0)) -> None:
        """Note that the device made progress. `ahead`: for so long no further report is to be expected."""
        self._progress_at = time.monotonic() + ahead.total_seconds()

    def release(self, job_id: str) -> None:
        """Stop watching a job whose result is recorded."""
        self._active.discard(job_id)

    def is_active(self, job_id: str) -> bool:
        """Whether a job is still under our lease, unfinished and not cancelled."""
        return job_id in self._active

    @property
    def has_active_jobs(self) -> bool:
        """Whether any job is still active."""
        return bool(self._active)

    @property
    def has_started(self) -> bool:
        """Whether the database has recorded that the jobs have started."""
        return self._has_started.is_set()

    def wait_for_start(self) -> None:
        """Wait until it is known which of the jobs are ours. Before that no result can be recorded."""
        self._has_started.wait()

    def wait(self, seconds: float) -> None:
        """Pause between two tries of a write, as long as the heartbeat goes on."""
        self._stop.wait(seconds)

    def _run(self) -> None:
        if self._start is not None:
            self._begin(self._start)
        self._watch()

    def _begin(self, start: Callable[[], Sequence[str]]) -> None:
        try:
            self._active &= set(self._start_jobs(start))
        except Exception:  # whatever it was, the jobs are not ours
            log.exception("the jobs of lease %s have not started", self.lease.hex[:8])
            self._active.clear()
        self._renewed_at = time.monotonic()
        self._has_started.set()

    def _start_jobs(self, start: Callable[[], Sequence[str]]) -> Sequence[str]:
        while not self._context.drain.is_over:
            try:
                return start()
            except UNAVAILABLE as error:
                log.warning("lease %s has not started yet: %s", self.lease.hex[:8], first_line(error))
                self._stop.wait(0.5)
        return ()

    def _watch(self) -> None:
        while not self._stop.wait(self._settings.cancel_check.total_seconds()) and self._active:
            try:
                self._check()
            except UNAVAILABLE as error:
                self._tolerate(first_line(error))
            # Checked first: a process that was frozen as a whole has lost its jobs, but its device is well.
            if self._active and self._has_stalled():
                self._exit_stalled()

    def _has_stalled(self) -> bool:
        limit = self._settings.stall_timeout.total_seconds()
        return self._progress_at is not None and time.monotonic() - self._progress_at > limit

    def _check(self) -> None:
        """Renew the lease if it is time to; drop jobs that are lost or cancelled."""
        now = time.monotonic()
        is_due = now - self._renewed_at >= self._settings.heartbeat.total_seconds()
        statement = leases.renew(self.lease, self._settings.lease) if is_due else leases.get_cancel_requests(self.lease)
        rows = self._context.database.execute(statement)
        if is_due:
            self._renewed_at = now
        self._drop(self._active - {row.id for row in rows})
        for row in rows:
            if row.cancel_requested_at is not None and row.id in self._active:
                self._active.discard(row.id)
                record_ends(self._context.database.execute(jobs.acknowledge_cancel(row.id, self.lease)))
                self._context.progress.publish_changes([row.id])

    def _drop(self, job_ids: set[str]) -> None:
        if job_ids:
            log.warning("lease %s lost for %s", self.lease.hex[:8], ", ".join(sorted(job_ids)))
            metrics.LEASES_LOST.inc(len(job_ids))
            self._active -= job_ids

    def _tolerate(self, reason: str) -> None:
        """The database is unavailable. The lease holds until it runs out; then another worker may have the jobs."""
        if time.monotonic() - self._renewed_at >= self._settings.lease.total_seconds():
            self._drop(set(self._active))
        else:
            log.warning("heartbeat of %s: the database is unavailable: %s", self.lease.hex[:8], reason)

    def _exit_stalled(self) -> None:
        """The device hangs and its thread cannot be stopped: requeue the jobs and end the process."""
        log.critical("no progress for %s; requeueing %s and exiting", self._settings.stall_timeout, self._active)
        try:
            for job_id in sorted(self._active):
                self._context.database.execute(
                    jobs.requeue(job_id, self.lease, "stalled", error=WorkerStalled(), delay=self._settings.retry_delay)
                )
        except UNAVAILABLE:
            log.warning("the database is unavailable; the lease will run out by itself")
        os._exit(EXIT_STALLED)
