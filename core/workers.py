"""Which workers run, and which queues they serve. A worker that dies expires like a lease."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.clock import NOW
from core.db import Statement
from core.rows import QueueWorkersRow
from core.tables import workers

DEAD_AGE = timedelta(hours=1)
"""How long the row of a dead worker is kept: until then an operator may still pause it, or its host."""


@dataclass(frozen=True, slots=True)
class WorkerDevice:
    """What a worker reports about its device and its memory, in bytes. None: not known, or it has no device.

    device_bytes: the weights of the loaded models; device_capacity: what they may take together.
    """

    device: str | None = None
    loaded_models: Sequence[str] = ()
    resident_bytes: int | None = None
    device_bytes: int | None = None
    device_capacity: int | None = None


def announce(
    name: str, queues: Sequence[str], *, is_ready: bool, length: timedelta, device: WorkerDevice | None = None
) -> sa.Executable:
    """Record that a worker serves these queues, until `length` from now, and what it reports about its device."""
    values = {
        "queues": list(queues),
        "is_ready": is_ready,
        "expires_at": NOW + sa.literal(length, sa.Interval),
        "renewed_at": NOW,
        **asdict(device or WorkerDevice()),
    }
    return (
        insert(workers).values(name=name, **values).on_conflict_do_update(index_elements=[workers.c.name], set_=values)
    )


def withdraw(name: str) -> sa.Executable:
    """Record that a worker takes no more jobs."""
    return sa.delete(workers).where(workers.c.name == name)


def purge_dead(limit: int) -> Statement[str]:
    """Delete the rows of workers that died more than DEAD_AGE ago, `limit` at most."""
    is_old = workers.c.expires_at < NOW - sa.literal(DEAD_AGE, sa.Interval)
    pick = sa.select(workers.c.name).where(is_old).limit(limit).cte("pick").prefix_with("MATERIALIZED")
    return Statement(sa.delete(workers).where(workers.c.name == pick.c.name, is_old).returning(workers.c.name), str)


def withdraw_host(host: str) -> sa.Executable:
    """Delete the rows of all workers of a host, which may be dead. Those that run announce themselves again."""
    return sa.delete(workers).where(workers.c.name.startswith(f"{host}:", autoescape=True))


def count_by_queue() -> Statement[QueueWorkersRow]:
    """The number of workers of each queue that has any."""
    server = sa.select(sa.func.unnest(workers.c.queues).label("queue"), workers.c.is_ready).where(
        workers.c.expires_at > NOW
    )
    rows = server.subquery("server")
    return Statement(
        sa.select(
            rows.c.queue,
            sa.func.count().label("workers"),
            sa.func.count().filter(rows.c.is_ready).label("ready_workers"),
        ).group_by(rows.c.queue),
        QueueWorkersRow,
    )
