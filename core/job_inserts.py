"""The jobs of a batch as rows of COPY, the fastest way to insert thousands of them (docs/05-performance.md).

While a batch's lines are checked, its rows are spooled: on disk beyond some megabytes, so that a batch of any size
needs little memory. A row gets its rank at the end, when the start of its flow in the queue is read.
"""

import json
import tempfile
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from operator import attrgetter
from typing import Any, Self

import sqlalchemy as sa
from psycopg import sql

from core.ids import new_ids
from core.limits import Amount
from core.new_job import NewJob
from core.status import JobStatus
from core.tables import LEGACY_COLUMNS, jobs

SPOOLED_BYTES = 4 * 2**20
"""Bytes of rows in memory; more are spooled on disk."""

CHUNK_ROWS = 200
"""Rows that are sent to Postgres at once: two milliseconds of work, after which other tasks can run."""

_SHARED_COLUMNS = tuple(name for name in NewJob.__slots__ if name not in ("id", "prompt", "parameters", "ttl"))
_shared_values = attrgetter(*_SHARED_COLUMNS)
_LEGACY = tuple(name for name in LEGACY_COLUMNS if name != "seed")
COLUMNS = (
    "id",
    "prompt",
    "seed",
    "parameters",
    "custom_id",
    "batch_index",
    "response_format",
    "expires_at",
    *_SHARED_COLUMNS,
    *_LEGACY,
    "batch_id",
    "status",
    "fair_rank",
)

COPY = sql.SQL("COPY jobs ({}) FROM STDIN").format(
    sql.SQL(", ").join(sql.Identifier(jobs.c[name].name) for name in COLUMNS)
)
"""The statement for the rows."""

INSERT_TIMEOUT = sa.text("SET LOCAL statement_timeout = '120s'")
"""To be executed before COPY: fifty thousand rows on a slow disk may exceed the usual statement timeout."""

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

Flow = tuple[str, int, int]
"""Queue, priority, project priority: a project's jobs with the same flow are executed in the order of insertion."""


class RowWriter:
    """Encodes the jobs of one batch as rows without their rank; see `with_rank`."""

    def __init__(self, batch_id: str, ends_at: datetime) -> None:
        self._batch_id = batch_id
        self._ends_at = ends_at
        self._end = ends_at.isoformat()
        self._shared_cells = _SharedCells()

    def row(
        self,
        template: NewJob,
        job_id: str,
        prompt: str,
        seed: int,
        index: int,
        custom_id: str,
        response_format: str,
        expires_after: float | None = None,
    ) -> str:
        """The row of a job that is line `index` of the batch. It differs from a template in id, prompt and seed.

        expires_after: seconds from now until the job expires, if that is before the end of the batch.
        """
        end = self._end
        if expires_after is not None:
            expires_at = datetime.now(self._ends_at.tzinfo) + timedelta(seconds=expires_after)
            end = min(self._ends_at, expires_at).isoformat()
        if not prompt.isprintable() or "\\" in prompt:  # looked up first, as `translate` takes ten times as long
            prompt = prompt.translate(_ESCAPES)
        if not custom_id.isprintable() or "\\" in custom_id:
            custom_id = custom_id.translate(_ESCAPES)
        cells = self._shared_cells
        if template is not cells.template:
            cells.load(template, self._batch_id)
        return (
            f'{job_id}\t{prompt}\t{seed}\t{{"seed": {seed}{cells.parameters}\t{custom_id}\t{index}\t'
            f"{response_format}\t{end}\t{cells.content}"
        )


class _SharedCells:
    """The cells that consecutive similar rows have in common. They are encoded once."""

    def __init__(self) -> None:
        self.template: NewJob | None = None
        self.parameters = ""  # the JSON after the seed
        self.content = ""
        self._values: tuple[Any, ...] = ()

    def load(self, job: NewJob, batch_id: str) -> None:
        """Encode the shared cells of a job."""
        self.template = job
        values = (_shared_values(job), vars(job.parameters) | {"seed": 0})
        if values == self._values:
            return
        self._values = values
        parameters = job.parameters.dump()
        del parameters["seed"]
        self.parameters = ", " + json.dumps(parameters, ensure_ascii=False).translate(_ESCAPES)[1:]
        cells = map(_cell, (*_shared_values(job), *(parameters.get(name) for name in _LEGACY)))
        self.content = "\t".join([*cells, batch_id, JobStatus.QUEUED])


def with_rank(row: str, rank: float) -> str:
    """A complete row."""
    return f"{row}\t{rank!r}\n"


@dataclass(slots=True)
class FlowTotal:
    """The number of a batch's jobs in one flow, and their device-seconds together."""

    count: int = 0
    cost: float = 0.0


class JobRows:
    """Collects the jobs of one batch, in order, until its last line is checked."""

    def __init__(self, batch_id: str, ends_at: datetime) -> None:
        self._rows = RowWriter(batch_id, ends_at)
        self._spool = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 - closed with the rows
        self._buffer: list[str] = []  # rows that are not in the spool yet
        self._flows: dict[Flow, FlowTotal] = {}
        self._template: NewJob | None = None
        self._first = 0  # the index of the template's first job
        self._count = 0
        # Runs of consecutive jobs in one flow and with one cost: the flow's index, the cost, the number of jobs.
        self._run_flows, self._run_costs, self._run_counts = array("H"), array("d"), array("L")
        self._new_ids = new_ids("job")
        self.model_counts: Counter[str] = Counter()
        self._local_seconds = 0.0
        self._provider_usd = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def __len__(self) -> int:
        return self._count

    @property
    def amount(self) -> Amount:
        """What the jobs will use."""
        self._end_run()
        return Amount(len(self), 0, self._local_seconds, self._provider_usd)

    @property
    def flows(self) -> dict[Flow, "FlowTotal"]:
        """The flows that the jobs belong to: of a queue and priority, the highest project priority first."""
        self._end_run()
        return dict(sorted(self._flows.items(), key=lambda item: item[0], reverse=True))

    def add(
        self,
        template: NewJob,
        prompt: str,
        seed: int,
        custom_id: str,
        response_format: str,
        expires_after: float | None = None,
    ) -> None:
        """Add the batch's next job; see `RowWriter.row`."""
        if template is not self._template:
            self._end_run()
            self._template = template
        row = self._rows.row(
            template, next(self._new_ids), prompt, seed, self._count, custom_id, response_format, expires_after
        )
        self._buffer.append(row)
        self._count += 1
        if len(self._buffer) == CHUNK_ROWS:
            self._spool_rows()

    def _spool_rows(self) -> None:
        if self._buffer:
            self._spool.write(("\n".join(self._buffer) + "\n").encode())
            self._buffer.clear()

    def _end_run(self) -> None:
        """Count the jobs of the last template."""
        template, count = self._template, self._count - self._first
        if template is None or not count:
            return
        flow = (template.queue, template.priority, template.project_priority)
        total = self._flows.setdefault(flow, FlowTotal())
        index = list(self._flows).index(flow)
        total.count += count
        total.cost += count * template.cost
        if self._run_counts and (self._run_flows[-1], self._run_costs[-1]) == (index, template.cost):
            self._run_counts[-1] += count
        else:
            self._run_flows.append(index)
            self._run_costs.append(template.cost)
            self._run_counts.append(count)
        self.model_counts[template.model] += count
        if template.provider_usd is None:
            self._local_seconds += count * template.cost
        else:
            self._provider_usd += count * template.provider_usd
        self._first = self._count

    def chunks(self, starts: Mapping[Flow, float]) -> Iterator[bytes]:
        """The rows, some hundred at a time. starts: the start of each flow, from `core.priorities.select_start`."""
        self._end_run()
        self._spool_rows()
        ranks = [starts[flow] for flow in self._flows]
        self._spool.seek(0)
        chunk: list[bytes] = []
        for flow, cost, count in zip(self._run_flows, self._run_costs, self._run_counts, strict=True):
            rank = ranks[flow]
            for row in islice(self._spool, count):
                rank += cost
                chunk.append(b"%s\t%r\n" % (row[:-1], rank))
                if len(chunk) == CHUNK_ROWS:
                    yield b"".join(chunk)
                    chunk = []
            ranks[flow] = rank
        yield b"".join(chunk)


def _cell(value: Any) -> str:
    """A value in COPY's text format."""
    match value:
        case None:
            return r"\N"
        case str():
            return value.translate(_ESCAPES)
        case datetime():
            return value.isoformat()
        case Mapping() | list() | tuple():
            return json.dumps(value, ensure_ascii=False).translate(_ESCAPES)
    return repr(value)
