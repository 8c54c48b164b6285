"""Pauses and drains of queues and workers.

Nothing is claimed from a paused queue, or by a worker that is paused or drains. A draining queue is worked off: jobs
are claimed from it, and the API accepts no new ones. The row is in the database, so it survives restarts.
`core.leases.claim` reads it within its own statement. Micro-batches in hand are finished.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.clock import NOW
from core.db import Statement
from core.tables import jobs, pauses, workers
from core.tables.pauses import host_of, is_pause_of_queue, is_pause_of_worker

PauseKind = Literal["queue", "worker"]
PauseState = Literal["paused", "draining"]
State = Literal["running", "paused", "draining", "drained"]


@dataclass(slots=True)
class PauseRow:
    """A paused queue or worker. name of a worker: host and pid, or the host for all of its workers."""

    kind: PauseKind
    name: str
    state: PauseState
    created_at: datetime


def begin(kind: PauseKind, name: str, state: PauseState) -> Statement[PauseRow]:
    """Pause or drain a queue or a worker; returns the row, with the time since when it has this state."""
    new = insert(pauses).values(kind=kind, name=name, state=state)
    since = sa.case((pauses.c.state == state, pauses.c.created_at), else_=NOW)
    upsert = new.on_conflict_do_update(
        index_elements=[pauses.c.kind, pauses.c.name], set_={"state": state, "created_at": since}
    )
    return Statement(upsert.returning(*pauses.c), PauseRow)


def resume(kind: PauseKind, name: str) -> Statement[PauseRow]:
    """End a pause; no row is returned if there was none."""
    condition = pauses.c.kind == kind, pauses.c.name == name
    return Statement(sa.delete(pauses).where(*condition).returning(*pauses.c), PauseRow)


def list_pauses() -> Statement[PauseRow]:
    """All pauses, at most 1000."""
    return Statement(sa.select(pauses).order_by(pauses.c.kind, pauses.c.name).limit(1000), PauseRow)


def draining_queues(rows: Iterable[PauseRow]) -> frozenset[str]:
    """The queues that accept no jobs."""
    return frozenset(row.name for row in rows if (row.kind, row.state) == ("queue", "draining"))


def state_of_queue(state: PauseState | None, open_jobs: int) -> State:
    """The state of a queue. state: of its pause; open_jobs: those that wait or run."""
    return "drained" if state == "draining" and not open_jobs else state or "running"


def state_of_worker(name: str, states: Mapping[str, PauseState], *, is_idle: bool) -> State:
    """The state of a worker. states: of the pauses of workers and hosts, by name; a drain counts more than a pause."""
    pause_states = {states.get(name), states.get(name.partition(":")[0])}
    if "draining" in pause_states:
        return "drained" if is_idle else "draining"
    return "paused" if "paused" in pause_states else "running"


def find(kind: PauseKind, name: str) -> Statement[str]:
    """The name, if there is such a queue with jobs or workers, or such a worker or host."""
    if kind == "worker":
        is_known: Any = sa.select(workers.c.name).where(is_worker_named(workers.c.name, name)).exists()
    else:
        has_worker = sa.select(workers.c.name).where(sa.literal(name) == sa.any_(workers.c.queues)).exists()
        has_job = sa.select(jobs.c.id).where(jobs.c.queue == name, _IS_QUEUED).exists()
        is_known = sa.or_(has_worker, has_job)
    return Statement(sa.select(sa.literal(name)).where(is_known), str)


def is_worker_named(worker: sa.ColumnElement[str], name: str) -> sa.ColumnElement[bool]:
    """Whether a name is that of a worker or of its host."""
    return sa.or_(worker == name, host_of(worker) == name)


def is_claimable(queue: sa.ColumnElement[str], worker: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether claims are not stopped by a pause. Postgres evaluates it once a statement, not for each job."""
    stops = sa.or_(is_pause_of_queue(queue), is_pause_of_worker(worker))
    return ~sa.exists(sa.select(sa.literal(1)).select_from(pauses).where(stops))


_IS_QUEUED = jobs.c.status == sa.literal_column("'queued'")
