"""The batch processor: reads input files, stops cancelled batches, writes output files. `run` is the loop.

A batch is read or written by one batch processor at a time, under a lease with a token, as jobs are drawn; a batch
processor that dies leaves it to the next. What it inserts or writes counts only with its last statement, which shows
the token: a batch has all its jobs or none, and its files once, however often one began anew.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from core import fairness, files, jobs
from core.batches import transitions as batches
from core.batches.input_file import Line, Reading, kind_of, max_line_bytes, read, wrong
from core.batches.transitions import LineError
from core.batches.validation import BatchCheck
from core.catalog import load_catalog
from core.db import UNAVAILABLE, Database, Statement
from core.errors import InvalidRequest, SafelightError, StorageUnavailable, first_line
from core.files import NewFile
from core.job_inserts import COPY, INSERT_TIMEOUT, Flow, JobRows
from core.redis.notifier import Notifier
from core.redis.progress import Progress
from core.requests.plan import request_of
from core.rows import BatchRow, ClaimedBatch
from core.settings import Settings
from core.status import BatchStatus, JobStatus
from core.storage import Storage
from worker.batches.inputs import BatchInputs
from worker.batches.output_files import lines_of

log = logging.getLogger(__name__)

Item = TypeVar("Item")

LEASE = timedelta(seconds=30)
RENEWAL_SECONDS = 5.0
STOPPED_AT_A_TIME = 1000
PAGE = 500


class Superseded(Exception):
    """The batch was cancelled, or another batch processor has it."""


class BatchProcessor:
    """Looks after batches, one at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog = load_catalog(settings.catalog_path).offered(settings)
        self._database = Database(settings, name="safelight-batches")
        self._storage = Storage(settings)
        self._progress = Progress(settings)
        self._notifier = Notifier(settings)

    def run(self, stop: threading.Event) -> None:
        """Look after batches until told to stop."""
        while not stop.is_set():
            try:
                if self.look():
                    continue
            except UNAVAILABLE as error:
                log.warning("the database is away: %s", first_line(error))
            except StorageUnavailable as error:
                log.warning("the store is away, the batch waits: %s", error.message)
            except Exception:  # whatever it was, the next look may go well; without a batch processor no batch goes on
                log.exception("the batch processor stumbled")
            stop.wait(self._settings.batch_poll.total_seconds())
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def look(self) -> bool:
        """Do what there is to do for one batch. Returns whether there was anything."""
        self.move_on()
        lease = uuid4()
        claimed = self._database.execute(batches.claim(lease, LEASE))
        for row in claimed:
            held = Held(self._database, row, self.move_on)
            try:
                self._tell([self.admit(held) if row.status == BatchStatus.VALIDATING else self.finish(held)])
            except Superseded:
                log.info("batch %s is somebody else's, or nobody's any more", row.id)
            except (*UNAVAILABLE, StorageUnavailable):
                raise
            except Exception:  # whatever it was, it concerns this batch alone; its lease lets the others go first
                log.exception("batch %s is left alone for %s", row.id, LEASE)
        return bool(claimed)

    def move_on(self) -> None:
        """See to the batches that need but a word; done while a long one is read or written, too."""
        self.stop()
        self._tell(self._database.execute(batches.finalize()))

    def stop(self) -> None:
        """Ask the jobs of batches that are not wanted any more to stop."""
        for batch_id in self._database.execute(batches.list_cancelling()):
            while stopped := self._database.execute(jobs.cancel_batch_jobs(batch_id, STOPPED_AT_A_TIME)):
                self._progress.changed([job.id for job in stopped if job.status == JobStatus.IN_PROGRESS])

    def admit(self, held: "Held") -> BatchRow:
        """Read a batch's lines: put all of them in line, or, where one is wrong, none."""
        batch = held.batch
        inputs = BatchInputs(self._settings, self._database, self._storage, batch.project_id)
        with JobRows(batch.id, batch.expires_at) as rows:
            check = BatchCheck(
                self._catalog, self._settings, batch.project_id, inputs.read_inputs, rows, batch.response_format
            )
            for line in held.renewing(self._lines(batch)):
                if not check.take(line):
                    break
            if check.errors:
                return self._moved(batches.refuse(batch.id, held.lease, check.errors))
            return self._insert(held, check, rows, inputs.new)

    def _insert(self, held: "Held", check: BatchCheck, rows: JobRows, new: list[NewFile]) -> BatchRow:
        batch = held.batch
        held.renew()
        with self._database.transaction() as transaction:
            transaction.execute(INSERT_TIMEOUT)
            if new:
                transaction.execute(files.record(*new))
            starts: dict[Flow, float] = {}
            for queue in sorted({queue for queue, _ in rows.flows}):
                transaction.execute(fairness.lock_flow(queue, batch.project_id))
            for queue, priority in rows.flows:
                start = fairness.select_start(queue, batch.project_id, priority, batch=True)
                (starts[queue, priority],) = transaction.execute(start)
            transaction.copy(COPY, held.renewing(rows.chunks(starts)))
            accepted = batches.accept(batch.id, held.lease, total=check.total, model=check.model, cost=check.cost)
            moved = transaction.execute(accepted)
            if not moved:
                transaction.rollback()
                raise Superseded
        for queue in {queue for queue, _ in rows.flows}:
            self._notifier.notify(queue)
        return moved[0]

    def _lines(self, batch: ClaimedBatch) -> Iterator[Line | LineError]:
        """The lines of a batch, from its file or, where it is a retry, from the batch before."""
        if batch.retried_from is not None:
            return self._lines_to_retry(batch.retried_from)
        try:
            found = self._database.execute(files.get_file(batch.project_id, batch.input_file_id or ""))
            if not found:
                raise InvalidRequest(f"There is no file {batch.input_file_id!r} any more.")
            reading = Reading(batch.endpoint, batch.parameters, max_line_bytes(self._settings))
            return read(kind_of(found[0].filename), self._storage.stream(found[0].storage_key), reading)
        except SafelightError as error:
            return iter([wrong(None, error)])

    def _lines_to_retry(self, batch_id: str) -> Iterator[Line]:
        after = -1
        while found := self._database.execute(batches.list_lines(batch_id, after=after, limit=PAGE, completed=False)):
            for row in found:
                after = row.batch_index
                yield Line(after + 1, row.custom_id, request_of(row), row.response_format, is_repeat=True)

    def finish(self, held: "Held") -> BatchRow:
        """Write the files that say what came of each line, and end the batch."""
        batch = held.batch
        counts = {row.status: row.jobs for row in self._database.execute(batches.count_jobs(batch.id))}
        output = self._write(held, "output", completed=True) if counts.get(JobStatus.COMPLETED) else None
        others = sum(counts.values()) - counts.get(JobStatus.COMPLETED, 0)
        errors = self._write(held, "error", completed=False) if others else None
        with self._database.transaction() as transaction:
            if written := [file for file in (output, errors) if file is not None]:
                transaction.execute(files.record(*written))
            ended = batches.complete(
                batch.id,
                held.lease,
                counts,
                output_file_id=output.id if output else None,
                error_file_id=errors.id if errors else None,
            )
            moved = transaction.execute(ended)
            if not moved:
                transaction.rollback()
                raise Superseded
        return moved[0]

    def _write(self, held: "Held", kind: str, *, completed: bool) -> NewFile:
        batch = held.batch
        file_id = files.new_file_id()
        size = 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            shown = lines_of(self._settings, self._database, self._storage, batch, completed=completed)
            for line in held.renewing(shown):
                size += len(line)
                yield line

        self._storage.write(files.storage_key(file_id), counted())
        ttl = batch.output_ttl or self._settings.retention
        return NewFile(file_id, batch.project_id, "batch_output", f"{batch.id}_{kind}.jsonl", size, ttl)

    def _moved(self, query: Statement[BatchRow]) -> BatchRow:
        rows = self._database.execute(query)
        if not rows:
            raise Superseded
        return rows[0]

    def _tell(self, moved: Sequence[BatchRow]) -> None:
        for row in moved:
            log.info("batch %s: %s", row.id, row.status)
        self._progress.changed([row.id for row in moved])


class Held:
    """A batch that we are at, as long as its lease is renewed. `meanwhile` is done whenever that is.

    renewal: seconds after which it is due.
    """

    def __init__(
        self, database: Database, batch: ClaimedBatch, meanwhile: Callable[[], None], renewal: float = RENEWAL_SECONDS
    ) -> None:
        self._database = database
        self._meanwhile = meanwhile
        self._renewal = renewal
        self._renewed_at = time.monotonic()
        self.batch = batch
        self.lease = batch.lease

    def renew(self) -> None:
        """Stay at it. Raises Superseded."""
        self._renewed_at = time.monotonic()
        if not self._database.execute(batches.renew(self.batch.id, self.lease, LEASE)):
            raise Superseded

    def renewing(self, items: Iterator[Item]) -> Iterator[Item]:
        """Go through something long, and stay at the batch meanwhile."""
        for item in items:
            if time.monotonic() - self._renewed_at > self._renewal:
                self.renew()
                self._meanwhile()
            yield item
