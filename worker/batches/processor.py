"""The batch processor: reads input files, stops cancelled batches, writes output files. `run` is the loop.

Several threads read and write, each for one batch, and no two for one project: a project with long batches does not
delay the batches of others. The project that was served longest ago is next.

One batch processor at a time works on a batch, under a lease with a token; if it dies, the lease runs out and another
one claims the batch. Its rows and files count only with its last statement, which shows the token: a batch has all its
jobs or none, and its files once, however often the work was repeated.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

from core import files, jobs
from core.batches import queries as batch_queries
from core.batches import transitions as batches
from core.batches.line_errors import line_error
from core.db import UNAVAILABLE, Database, is_statement_timeout
from core.errors import BatchProcessingFailed, StorageUnavailable, first_line
from core.files import NewFile
from core.redis.changes import ChangeListener
from core.redis.notifier import Notifier
from core.redis.progress import BATCHES_CHANNEL, Progress
from core.rows.batch import BatchRow
from core.settings import Settings
from core.status import BatchStatus, JobStatus
from core.storage import Storage
from core.telemetry import logs, tracing
from core.telemetry.job_metrics import record_ends
from worker.batches.lease import LEASE, BatchLease, Stopping, Superseded
from worker.batches.order import FairOrder
from worker.batches.output_files import lines_of
from worker.batches.reader import BatchReader

log = logging.getLogger(__name__)

CANCEL_CHUNK = 1000
NOTIFIED_POLL_SECONDS = 5.0
"""Interval of polling while Redis notifies of changes."""


class BatchProcessor:
    """Processes the batches of several projects at once, one of each project."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = Database(settings, name="safelight-batches")
        self._storage = Storage(settings)
        self._progress = Progress(settings)
        self._notifier = Notifier(settings)
        self._stop = threading.Event()
        self._interrupted: list[BatchLease] = []
        self._suspect: BatchLease | None = None
        self._reader = BatchReader(settings, self._database, self._storage, self._notifier)
        # A batch that is inserted holds a connection, and the loops need one each.
        self._readers = min(settings.batch_readers, max(1, settings.database_pool_size - 2))
        self._threads = ThreadPoolExecutor(self._readers, "batch")
        self._order = FairOrder()
        self._is_free = threading.Event()
        """Wakes the loop: a thread has become free, or a batch was submitted."""
        self._new_batches = ChangeListener(settings, self._is_free.set, BATCHES_CHANNEL)
        self._has_changed = threading.Event()
        self._changes = ChangeListener(settings, self._has_changed.set)
        self._finalize = batches.finalize()  # built once, as it runs often
        self._list_cancelling = batch_queries.list_cancelling()

    def run(self, stop: threading.Event) -> None:
        """Process batches until `stop` is set. Those in progress are interrupted, and wait for the next processor."""
        self._stop = stop
        stopping = threading.Thread(target=self._wake_at, args=[stop], name="stop batches", daemon=True)
        advancing = threading.Thread(target=self._repeat_after_changes, args=[stop], name="advance batches")
        for thread in (stopping, advancing, self._new_batches, self._changes):
            thread.start()
        while not stop.is_set():
            self._survive(self._start_batches)
            if not stop.is_set():  # otherwise the event may have been cleared already
                self._is_free.wait(self._interval(self._new_batches))
        self._new_batches.close()
        self._changes.close()
        self._threads.shutdown()
        advancing.join()
        self.close()

    def _wake_at(self, stop: threading.Event) -> None:
        """End the waits of the loops when `stop` is set."""
        stop.wait()
        self._is_free.set()
        self._has_changed.set()

    def _repeat_after_changes(self, stop: threading.Event) -> None:
        """Advance batches after changes of jobs and batches, every `batch_poll` at most."""
        while not stop.wait(self._settings.batch_poll.total_seconds()):
            self._has_changed.clear()
            self._survive(self.advance)
            if not stop.is_set():
                self._has_changed.wait(self._interval(self._changes))

    def _interval(self, listener: ChangeListener) -> float:
        """Seconds until the next poll. It is only a safeguard while changes are notified."""
        poll = self._settings.batch_poll.total_seconds()
        return max(poll, NOTIFIED_POLL_SECONDS) if listener.is_listening else poll

    def _survive(self, action: Callable[[], None]) -> None:
        """Run an action. No error ends the loop."""
        try:
            action()
        except UNAVAILABLE as error:
            log.warning("the database is unavailable: %s", first_line(error))
        except Exception:  # whatever it was, the loop goes on: without it no batch is processed
            log.exception("the batch processor failed and goes on")

    def close(self) -> None:
        """Close the connections and end the decoders."""
        self._reader.close()
        self._database.close()

    def _start_batches(self) -> None:
        """Start batches while a thread is free. Each is the next of a project that has none in progress.

        A batch whose attempt failed before may end the process, so it runs alone: no other batch loses an attempt.
        """
        self._is_free.clear()
        self._release_interrupted()
        while self._suspect is None and len(busy := self._order.in_progress) < self._readers:
            last_served = self._order.last_served
            rows = self._database.execute(
                batches.claim(uuid4(), LEASE, busy=sorted(busy), last_served=last_served, first_attempt=bool(busy))
            )
            if not rows:
                return
            lease = BatchLease(self._database, rows[0], stop=self._stop)
            self._suspect = lease if rows[0].attempts > 1 else None
            self._order.begin(rows[0].project_id)
            self._threads.submit(self._process, lease)

    def _process(self, lease: BatchLease) -> None:
        """Read or finish a batch. An attempt that fails counts, unless the database or the storage is unavailable."""
        batch = lease.batch
        try:
            with logs.add_ids(batch_id=batch.id, project_id=batch.project_id):
                row = self._attempt(lease)
            self._publish([] if row is None else [row])
        except Superseded:
            log.info("batch %s was cancelled or claimed by another batch processor", batch.id)
        except Stopping:
            self._database.execute(batches.release(batch.id, lease.token, timedelta(0)))
        except UNAVAILABLE as error:
            self._interrupted.append(lease)
            log.warning("the database is unavailable: %s", first_line(error))
        except StorageUnavailable as error:
            self._interrupted.append(lease)
            log.warning("the storage is unavailable, the batch waits: %s", error.message)
        except Exception:  # such as that there is no more memory
            log.exception("batch %s waits for the end of its lease", batch.id)
        finally:
            self._suspect = None if self._suspect is lease else self._suspect
            self._order.end(batch.project_id)
            self._is_free.set()

    def _attempt(self, lease: BatchLease) -> BatchRow | None:
        """The row of a batch that was read, finished or failed. None: it is tried again."""
        batch = lease.batch
        if batch.attempts > self._settings.max_batch_attempts:  # the attempts before ended this process
            return self._fail(lease)
        try:
            is_unread = batch.status == BatchStatus.VALIDATING
            ids: tracing.Attributes = {"safelight.batch_id": batch.id, "safelight.attempt": batch.attempts}
            with tracing.work_span("read batch" if is_unread else "finish batch", batch.traceparent, ids):
                return self._reader.read(lease) if is_unread else self.finish(lease)
        except (Superseded, Stopping):
            raise
        except Exception as error:
            if isinstance(error, (*UNAVAILABLE, StorageUnavailable)) and not is_statement_timeout(error):
                raise
            # Whatever it was, it concerns this batch alone; its lease delays it behind the others.
            log.exception(
                "batch %s failed in attempt %d of %d", batch.id, batch.attempts, self._settings.max_batch_attempts
            )
            return self._fail(lease) if batch.attempts >= self._settings.max_batch_attempts else None

    def _fail(self, lease: BatchLease) -> BatchRow:
        batch = lease.batch
        counts = {row.status: row.jobs for row in self._database.execute(batch_queries.count_jobs(batch.id))}
        work = "reading its lines" if batch.status == BatchStatus.VALIDATING else "writing its output files"
        attempts = self._settings.max_batch_attempts
        error = BatchProcessingFailed(f"{attempts} attempts of {work} failed; the log of the sweep has the reason.")
        log.error("batch %s fails: %s", batch.id, error.message)
        return lease.execute(batches.fail(batch.id, lease.token, line_error(None, error), counts))

    def _release_interrupted(self) -> None:
        """Take back the attempts that an outage interrupted. Their leases go on, so that other batches come first."""
        while self._interrupted:
            lease = self._interrupted[-1]
            self._database.execute(batches.release(lease.batch.id, lease.token, LEASE))
            self._interrupted.pop()

    def advance(self) -> None:
        """Advance batches that need no file I/O."""
        self._publish_finalizing()
        while batch_ids := self._database.execute(self._list_cancelling):
            if not any([self._cancel_jobs(batch_id) for batch_id in batch_ids]):
                return

    def _cancel_jobs(self, batch_id: str) -> bool:
        """Cancel some jobs of a cancelled batch. Returns whether it had any. Other batches advance meanwhile."""
        rows = record_ends(self._database.execute(jobs.cancel_batch_jobs(batch_id, CANCEL_CHUNK)))
        self._progress.publish_changes([job.id for job in rows if job.status == JobStatus.IN_PROGRESS])
        self._publish_finalizing()
        return bool(rows)

    def _publish_finalizing(self) -> None:
        """Start to finish batches whose jobs are all final."""
        rows = self._database.execute(self._finalize)
        self._publish(rows)
        if rows:
            self._is_free.set()  # their files can be written

    def finish(self, lease: BatchLease) -> BatchRow:
        """Write the output and error files, and end the batch."""
        batch = lease.batch
        counts = {row.status: row.jobs for row in self._database.execute(batch_queries.count_jobs(batch.id))}
        output = self._write(lease, "output", completed=True) if counts.get(JobStatus.COMPLETED) else None
        without_output = sum(counts.values()) - counts.get(JobStatus.COMPLETED, 0)
        errors = self._write(lease, "error", completed=False) if without_output else None
        with self._database.transaction() as transaction:
            if new_files := [file for file in (output, errors) if file is not None]:
                transaction.execute(files.record(*new_files))
            complete = batches.complete(
                batch.id,
                lease.token,
                counts,
                output_file_id=output.id if output else None,
                error_file_id=errors.id if errors else None,
            )
            rows = transaction.execute(complete)
            if not rows:
                transaction.rollback()
                raise Superseded
        return rows[0]

    def _write(self, lease: BatchLease, kind: str, *, completed: bool) -> NewFile:
        batch = lease.batch
        file_id = files.new_file_id()
        size = 0

        def count_bytes() -> Iterator[bytes]:
            nonlocal size
            lines = lines_of(self._settings, self._database, self._storage, batch, completed=completed)
            for line in lease.renew_during(lines):
                size += len(line)
                yield line

        self._storage.write(files.storage_key(file_id), count_bytes())
        ttl = batch.output_ttl or self._settings.retention
        return NewFile(file_id, batch.project_id, "batch_output", f"{batch.id}_{kind}.jsonl", size, ttl)

    def _publish(self, rows: Sequence[BatchRow]) -> None:
        for row in rows:
            log.info("batch %s: %s", row.id, row.status, extra={"batch_id": row.id, "project_id": row.project_id})
        self._progress.publish_changes([row.id for row in rows])
