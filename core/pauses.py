"""Pauses of queues and workers: nothing is claimed from a queue, or by a worker, that has a row in `pauses`.

The row is in the database, so a pause survives restarts. `core.leases.claim` reads it within its own statement.
Micro-batches in hand are finished. Submits are accepted.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.db import Statement
from core.tables import jobs, pauses, workers

PauseKind = Literal["queue", "worker"]
PauseState = Literal["paused", "draining"]


@dataclass(slots=True)
class PauseRow:
    """A paused queue or worker. name of a worker: host and pid, or the host for all of its workers."""

    kind: PauseKind
    name: str
    state: PauseState
    created_at: datetime


def begin(kind: PauseKind, name: str, state: PauseState) -> Statement[PauseRow]:
    """Pause or drain a queue or a worker; returns the row."""
    new = insert(pauses).values(kind=kind, name=name, state=state)
    upsert = new.on_conflict_do_update(index_elements=[pauses.c.kind, pauses.c.name], set_={"state": state})
    return Statement(upsert.returning(*pauses.c), PauseRow)


def resume(kind: PauseKind, name: str) -> Statement[PauseRow]:
    """End a pause; no row is returned if there was none."""
    condition = pauses.c.kind == kind, pauses.c.name == name
    return Statement(sa.delete(pauses).where(*condition).returning(*pauses.c), PauseRow)


def list_pauses() -> Statement[PauseRow]:
    """All pauses, at most 1000."""
    return Statement(sa.select(pauses).order_by(pauses.c.kind, pauses.c.name).limit(1000), PauseRow)


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


def host_of(worker: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """The host in the name of a worker, `host:pid`."""
    return sa.func.split_part(worker, ":", 1)


def is_claimable(queue: sa.ColumnElement[str], worker: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether neither a queue nor a worker is paused. Postgres evaluates it once a statement, not for each job."""
    of_queue = sa.and_(pauses.c.kind == "queue", pauses.c.name == queue)
    of_worker = sa.and_(pauses.c.kind == "worker", pauses.c.name.in_([worker, host_of(worker)]))
    return ~sa.exists(sa.select(sa.literal(1)).select_from(pauses).where(sa.or_(of_queue, of_worker)))


_IS_QUEUED = jobs.c.status == sa.literal_column("'queued'")
