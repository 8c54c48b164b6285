"""Reads the lines of a batch: all of them become jobs or, where one is invalid, none.

The rows and files count only with the last statement, which shows the token of the lease.
"""

from collections.abc import Iterator, Mapping

from core import fairness, files, priorities
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
from core.db import Database, Transaction
from core.errors import InvalidRequest, SafelightError
from core.files import NewFile
from core.images.decoders import Decoders
from core.job_inserts import COPY, INSERT_TIMEOUT, Flow, FlowTotal, JobRows
from core.redis.notifier import Notifier
from core.requests.plan import request_of
from core.rows.batch import BatchRow
from core.settings import Settings
from core.storage import Storage
from core.telemetry import metrics
from worker.batches.drains import drain_errors
from worker.batches.inputs import BatchInputs, catalog_of_project
from worker.batches.lease import BatchLease, Superseded
from worker.reservation import reserve

PAGE = 500


class BatchReader:
    """Reads the lines of batches, of several at once."""

    def __init__(self, settings: Settings, database: Database, storage: Storage, notifier: Notifier) -> None:
        self._settings = settings
        self._catalog_file = CatalogFile(settings)
        self._database = database
        self._storage = storage
        self._notifier = notifier
        self._decoders = Decoders(settings)

    def close(self) -> None:
        """End the decoders."""
        self._decoders.close()

    def read(self, lease: BatchLease) -> BatchRow:
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
                return lease.execute(batches.refuse(batch.id, lease.token, errors, summary.as_json()))
            return self._insert(lease, check, rows, inputs.new, summary)

    def _insert(
        self, lease: BatchLease, check: BatchCheck, rows: JobRows, new: list[NewFile], summary: InputSummary
    ) -> BatchRow:
        batch = lease.batch
        lease.renew()
        with self._database.transaction() as transaction:
            transaction.execute(INSERT_TIMEOUT)
            error = reserve(transaction, self._settings, batch.project_id, batch.api_key_id, rows.amount)
            if error is not None:
                transaction.rollback()
                return lease.execute(batches.refuse(batch.id, lease.token, [line_error(None, error)]))
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
