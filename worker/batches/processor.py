"""The batch processor: reads input files, stops cancelled batches, writes output files. `run` is the loop.

Several threads read and write, each for one batch, and no two for one project: a project with long batches does not
delay the batches of others. The project that was served longest ago is next.

One batch processor at a time works on a batch, under a lease with a token; if it dies, the lease runs out and another
one claims the batch. Its rows and files count only with its last statement, which shows the token: a batch has all its
jobs or none, and its files once, however often the work was repeated.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

from core import fairness, files, jobs, limits, logs, metrics, priorities, tracing
from core.batch_rows import BatchRow
from core.batches import queries as batch_queries
from core.batches import transitions as batches
from core.batches.input_file import max_line_bytes, parse_lines
from core.batches.input_summary import InputSummary
from core.batches.line import Line, ReadOptions
from core.batches.line_errors import line_error
from core.batches.line_parser import LineRequest
from core.batches.transitions import LineError
from core.batches.validation import BatchCheck
from core.catalog.file import CatalogFile
from core.db import UNAVAILABLE, Database, Statement, Transaction, is_statement_timeout
from core.errors import BatchProcessingFailed, InvalidRequest, SafelightError, StorageUnavailable, first_line
from core.files import NewFile
from core.images.decoders import Decoders
from core.job_inserts import COPY, INSERT_TIMEOUT, Flow, FlowTotal, JobRows
from core.job_metrics import record_ends
from core.limits import Amount
from core.redis.changes import ChangeListener
from core.redis.notifier import Notifier
from core.redis.progress import BATCHES_CHANNEL, Progress
from core.requests.plan import request_of
from core.settings import Settings
from core.status import BatchStatus, JobStatus
from core.storage import Storage
from worker.batches.drains import drain_errors
from worker.batches.inputs import BatchInputs, catalog_of_project
from worker.batches.lease import LEASE, BatchLease, Stopping, Superseded
from worker.batches.order import FairOrder
from worker.batches.output_files import lines_of

log = logging.getLogger(__name__)

CANCEL_CHUNK = 1000
PAGE = 500
NOTIFIED_POLL_SECONDS = 5.0
"""Interval of polling while Redis notifies of changes."""


class BatchProcessor:
    """Processes the batches of several projects at once, one of each project."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog_file = CatalogFile(settings)
        self._database = Database(settings, name="safelight-batches")
        self._storage = Storage(settings)
        self._progress = Progress(settings)
        self._notifier = Notifier(settings)
        self._stop = threading.Event()
        self._interrupted: list[BatchLease] = []
        self._suspect: BatchLease | None = None
        self._decoders = Decoders(settings)
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
        self._decoders.close()
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
                return self.read_batch(lease) if is_unread else self.finish(lease)
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
        return self._execute(batches.fail(batch.id, lease.token, line_error(None, error), counts))

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

    def read_batch(self, lease: BatchLease) -> BatchRow:
        """Read a batch's lines. All of them become jobs or, where one is invalid, none."""
        batch = lease.batch
        inputs = BatchInputs(
            self._settings, self._database, self._storage, self._decoders, batch.project_id, lease.renew_if_due
        )
        with JobRows(batch.id, batch.expires_at) as rows:
            check = BatchCheck(
                catalog_of_project(self._database, self._catalog_file.current(), batch.project_id),
                self._settings,
                batch.project_id,
                inputs.read_inputs,
                rows,
                batch.response_format,
                batch.api_key_id,
            )
            summary = InputSummary()
            for line in lease.renew_during(self._lines(lease, summary)):
                if not check.add(line):
                    break
            queues = {queue for queue, *_ in rows.flows}
            if errors := check.errors or drain_errors(self._database, batch, queues):
                return self._execute(batches.refuse(batch.id, lease.token, errors, summary.as_json()))
            return self._insert(lease, check, rows, inputs.new, summary)

    def _insert(
        self, lease: BatchLease, check: BatchCheck, rows: JobRows, new: list[NewFile], summary: InputSummary
    ) -> BatchRow:
        batch = lease.batch
        lease.renew()
        with self._database.transaction() as transaction:
            transaction.execute(INSERT_TIMEOUT)
            error = _reserve(transaction, self._settings, batch, rows.amount)
            if error is not None:
                transaction.rollback()
                return self._execute(batches.refuse(batch.id, lease.token, [line_error(None, error)]))
            if new:
                transaction.execute(files.record(*new))
            starts = _starts(transaction, batch.project_id, rows.flows)
            transaction.copy(COPY, lease.renew_during(rows.chunks(starts)))
            accept = batches.accept(
                batch.id,
                lease.token,
                total=check.total,
                model=check.model,
                cost=check.cost,
                summary=summary.as_json(with_example=False),
            )
            batch_rows = transaction.execute(accept)
            if not batch_rows:
                transaction.rollback()
                raise Superseded
        for model, count in rows.model_counts.items():
            metrics.JOBS_ACCEPTED.labels(model, "batch").inc(count)
        for queue in {queue for queue, *_ in rows.flows}:
            self._notifier.notify(queue)
        return batch_rows[0]

    def _lines(self, lease: BatchLease, summary: InputSummary) -> Iterator[Line | LineError]:
        """The lines of a batch: from its input file or, for a retry, from the earlier batch."""
        batch = lease.batch
        if batch.retried_from is not None:
            return self._lines_to_retry(batch.retried_from)
        try:
            file_rows = self._database.execute(files.get_file(batch.project_id, batch.input_file_id or ""))
            if not file_rows:
                raise InvalidRequest(f"The file {batch.input_file_id!r} was deleted or has expired.")
            extra_columns = batch.input.get("extra_columns", "refuse")
            max_bytes = max_line_bytes(self._settings)
            options = ReadOptions(batch.endpoint, batch.parameters, max_bytes, extra_columns, lease.renew_if_due)
            # Most formats are spooled before the first line, so the lease is renewed during this too.
            chunks = lease.renew_during(self._storage.stream(file_rows[0].storage_key))
            return parse_lines(file_rows[0].filename, chunks, options, summary)
        except SafelightError as error:
            return iter([line_error(None, error)])

    def _lines_to_retry(self, batch_id: str) -> Iterator[Line]:
        after = -1
        while rows := self._database.execute(
            batch_queries.list_lines(batch_id, after=after, limit=PAGE, completed=False)
        ):
            for row in rows:
                after = row.batch_index
                request = LineRequest(request_of(row), response_format=row.response_format, is_repeat=True)
                yield Line(after + 1, row.custom_id, request)

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

    def _execute(self, statement: Statement[BatchRow]) -> BatchRow:
        rows = self._database.execute(statement)
        if not rows:
            raise Superseded
        return rows[0]

    def _publish(self, rows: Sequence[BatchRow]) -> None:
        for row in rows:
            log.info("batch %s: %s", row.id, row.status, extra={"batch_id": row.id, "project_id": row.project_id})
        self._progress.publish_changes([row.id for row in rows])


def _reserve(transaction: Transaction, settings: Settings, batch: BatchRow, amount: Amount) -> SafelightError | None:
    """Reserve what a batch will use. Returns an error if a limit forbids it."""
    subject_ids = [batch.project_id, *([] if batch.api_key_id is None else [batch.api_key_id])]
    rows = transaction.execute(limits.get(subject_ids))
    subjects = limits.subjects_of(rows, settings, batch.project_id, batch.api_key_id)
    steps = limits.reservation(subjects, amount)
    try:
        statement = next(steps)
        while True:
            statement = steps.send(transaction.execute(statement))
    except StopIteration as end:
        error: SafelightError | None = end.value
    return error


def _starts(transaction: Transaction, project_id: str, flows: Mapping[Flow, FlowTotal]) -> dict[Flow, float]:
    """The start of each flow. flows: the highest project priority first."""
    starts: dict[Flow, float] = {}
    ends: dict[tuple[str, int], float] = {}  # of the jobs of this batch so far, by queue and priority
    for queue in sorted({queue for queue, *_ in flows}):
        transaction.execute(fairness.lock_flow(queue, project_id))
    for (queue, priority, project_priority), total in flows.items():
        (start,) = transaction.execute(
            priorities.select_start(queue, project_id, priority, project_priority, cost=total.cost, count=total.count)
        )
        start = max(start, ends.get((queue, priority), 0.0))
        starts[queue, priority, project_priority] = start
        ends[queue, priority] = start + total.cost
    return starts
