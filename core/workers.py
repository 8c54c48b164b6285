"""Which workers run, and which queues they serve. A worker that dies expires like a lease."""

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from core.clock import NOW
from core.db import Statement
from core.rows import QueueWorkersRow
from core.tables import workers


def announce(name: str, queues: Sequence[str], *, is_ready: bool, length: timedelta) -> sa.Executable:
    """Record that a worker serves these queues, until `length` from now."""
    values = {
        "queues": list(queues),
        "is_ready": is_ready,
        "expires_at": NOW + sa.literal(length, sa.Interval),
    }
    return (
        insert(workers).values(name=name, **values).on_conflict_do_update(index_elements=[workers.c.name], set_=values)
    )


def withdraw(name: str) -> sa.Executable:
    """Record that a worker takes no more jobs. The rows of workers that died more than a day ago are deleted, too."""
    is_old = workers.c.expires_at < NOW - sa.literal(timedelta(days=1), sa.Interval)
    return sa.delete(workers).where(sa.or_(workers.c.name == name, is_old))


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
