"""Jobs by the thousand, as rows of COPY: the quickest way into Postgres by far (docs/05-performance.md).

While a batch's lines are checked, its rows are spooled: on disk beyond some megabytes, so that a batch of any size
needs little memory. Only its rank a row gets at the end, when the line it will stand in is looked at.
"""

import json
import tempfile
from array import array
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Self

import sqlalchemy as sa
from psycopg import sql

from core.jobs import NewJob
from core.status import JobStatus
from core.tables import LEGACY_COLUMNS, jobs

SPOOLED_BYTES = 4 * 2**20
"""How much is kept in memory."""

CHUNK_ROWS = 200
"""Rows handed to Postgres at a time: two milliseconds of work between two chances for others."""

_SHARED = tuple(name for name in NewJob.__slots__ if name not in ("id", "prompt", "parameters", "ttl"))
_shared_of = attrgetter(*_SHARED)
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
    *_SHARED,
    *_LEGACY,
    "batch_id",
    "status",
    "fair_rank",
)

COPY = sql.SQL("COPY jobs ({}) FROM STDIN").format(
    sql.SQL(", ").join(sql.Identifier(jobs.c[name].name) for name in COLUMNS)
)
"""The statement that the rows belong to."""

INSERT_TIMEOUT = sa.text("SET LOCAL statement_timeout = '120s'")
"""To be run before it: fifty thousand rows on a slow disk take longer than a statement otherwise may."""

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

Flow = tuple[str, int]
"""Queue and priority: jobs that stand behind each other in line."""


class RowsOf:
    """Writes jobs as rows of one batch, all but their rank, which follows at the end."""

    def __init__(self, batch_id: str, ends_at: datetime) -> None:
        self._batch_id = batch_id
        self._ends_at = ends_at
        self._shared = _Shared()

    def row(
        self, job: NewJob, index: int, custom_id: str, response_format: str, expires_after: timedelta | None = None
    ) -> bytes:
        """A job as the batch's line `index`. expires_after: of the job, from now, if sooner than the batch's end."""
        return self.row_like(
            job, job.id, job.prompt, job.parameters.seed, index, custom_id, response_format, expires_after
        )

    def row_like(
        self,
        job: NewJob,
        job_id: str,
        prompt: str,
        seed: int,
        index: int,
        custom_id: str,
        response_format: str,
        expires_after: timedelta | None = None,
    ) -> bytes:
        """A job that is like another but for its own id, prompt and seed."""
        ends_at = self._ends_at
        if expires_after is not None:
            ends_at = min(ends_at, datetime.now(ends_at.tzinfo) + expires_after)
        prompt, custom_id = prompt.translate(_ESCAPES), custom_id.translate(_ESCAPES)
        shared = self._shared
        if job is not shared.job:
            shared.read(job, self._batch_id)
        own = f'{job_id}\t{prompt}\t{seed}\t{{"seed": {seed}{shared.parameters}\t{custom_id}\t{index}\t'
        return f"{own}{response_format}\t{ends_at.isoformat()}\t".encode() + shared.cells


class _Shared:
    """What a row has in common with those that are like it; written once for as many as follow each other."""

    def __init__(self) -> None:
        self.job: NewJob | None = None
        self.parameters = ""  # the JSON behind the seed
        self.cells = b""
        self._values: tuple[Any, ...] = ()

    def read(self, job: NewJob, batch_id: str) -> None:
        """Take over what the rows after this one share with a job."""
        self.job = job
        values = (_shared_of(job), vars(job.parameters) | {"seed": 0})
        if values == self._values:
            return
        self._values = values
        parameters = job.parameters.dump()
        del parameters["seed"]
        self.parameters = ", " + json.dumps(parameters, ensure_ascii=False).translate(_ESCAPES)[1:]
        cells = map(_cell, (*_shared_of(job), *(parameters.get(name) for name in _LEGACY)))
        self.cells = "\t".join([*cells, batch_id, JobStatus.QUEUED]).encode()


def ranked(row: bytes, rank: float) -> bytes:
    """A row that is whole."""
    return b"%s\t%r\n" % (row, rank)


class JobRows:
    """The jobs of one batch, in order, until all of them are known."""

    def __init__(self, batch_id: str, ends_at: datetime) -> None:
        self._rows = RowsOf(batch_id, ends_at)
        self._spool = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 - closed with the rows
        self._flows: dict[Flow, int] = {}
        self._flow_of = array("H")
        self._cost = array("d")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def __len__(self) -> int:
        return len(self._cost)

    @property
    def flows(self) -> list[Flow]:
        """The flows that the jobs belong to."""
        return list(self._flows)

    def add(self, job: NewJob, custom_id: str, response_format: str, expires_after: timedelta | None = None) -> None:
        """Take a job as the batch's next."""
        self._spool.write(self._rows.row(job, len(self), custom_id, response_format, expires_after) + b"\n")
        flow = (job.queue, job.priority)
        self._flow_of.append(self._flows.setdefault(flow, len(self._flows)))
        self._cost.append(job.cost)

    def chunks(self, starts: Mapping[Flow, float]) -> Iterator[bytes]:
        """The rows, some hundred at a time. starts: where each flow is charged from, as `core.fairness.start` says."""
        ranks = [starts[flow] for flow in self._flows]
        self._spool.seek(0)
        chunk: list[bytes] = []
        for flow, cost, row in zip(self._flow_of, self._cost, self._spool, strict=True):
            ranks[flow] += cost
            chunk.append(ranked(row[:-1], ranks[flow]))
            if len(chunk) == CHUNK_ROWS:
                yield b"".join(chunk)
                chunk = []
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
        case Mapping():
            return json.dumps(value, ensure_ascii=False).translate(_ESCAPES)
    return repr(value)
