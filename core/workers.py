"""Which workers run, and which queues they serve. A worker that dies expires like a lease."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Literal, Required, TypedDict

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from core.clock import NOW
from core.db import Statement
from core.rows.queue import ModelWorkersRow, QueueWorkersRow
from core.self_test import SelfTest
from core.tables import pauses, workers
from core.tables.pauses import is_pause_of_worker, is_worker_paused

DEAD_AGE = timedelta(hours=1)
"""How long the row of a dead worker is kept: until then an operator may still pause it, or its host."""

MAX_MODELS = 10_000
"""Models of a list, at most."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """What an operator wants of a worker."""

    state: Literal["running", "paused", "draining"]


class ModelState(TypedDict, total=False):
    """What a worker reports about one model. A model that it has not loaded yet has no entry.

    bytes: of its weights, measured. reason: why it is not usable. self_test: see `core.self_test`.
    """

    state: Required[Literal["loading", "loaded", "unusable"]]
    bytes: int
    reason: str
    self_test: SelfTest


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
    models: Mapping[str, ModelState] = field(default_factory=dict)


def announce(
    name: str, queues: Sequence[str], *, is_ready: bool, length: timedelta, device: WorkerDevice | None = None
) -> Statement[WorkerState]:
    """Record that a worker serves these queues, until `length` from now, and what it reports about its device.

    Returns what an operator wants of it.
    """
    values = {
        "queues": list(queues),
        "is_ready": is_ready,
        "expires_at": NOW + sa.literal(length, sa.Interval),
        "renewed_at": NOW,
        **asdict(device or WorkerDevice()),
    }
    new = insert(workers).values(name=name, **values)
    upsert = new.on_conflict_do_update(index_elements=[workers.c.name], set_=values)
    # A drain of the host counts before a pause of the worker: `draining` is the first of the states by name.
    state = sa.select(sa.func.min(pauses.c.state)).where(is_pause_of_worker(sa.literal(name))).scalar_subquery()
    return Statement(upsert.returning(sa.func.coalesce(state, "running").label("state")), WorkerState)


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
    """The number of workers of each queue that has any, without those that are paused or drain."""
    server = sa.select(sa.func.unnest(workers.c.queues).label("queue"), workers.c.is_ready).where(
        workers.c.expires_at > NOW, ~is_worker_paused(workers.c.name)
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


def list_models() -> Statement[ModelWorkersRow]:
    """For each model that a worker reports, how many workers have it in each state; no more rows than MAX_MODELS.

    Workers that are paused or drain do not count, as they take no job.
    """
    empty = sa.literal({}, JSONB)
    entry = (
        sa.func.jsonb_each(sa.func.coalesce(workers.c.models, empty))
        .table_valued(sa.column("key", sa.Text), sa.column("value", JSONB))
        .alias("entry")
    )
    model, report = entry.c.key, entry.c.value
    state = report["state"].astext
    count = sa.func.count()
    return Statement(
        sa.select(
            model.label("model"),
            count.filter(state == "loaded").label("loaded_workers"),
            count.filter(state == "loading").label("loading_workers"),
            count.filter(state == "unusable").label("unusable_workers"),
            sa.func.max(sa.cast(report["bytes"].astext, sa.BigInteger)).label("bytes"),
            sa.func.min(report["reason"].astext).label("reason"),
            sa.func.jsonb_agg(report["self_test"]).filter(report["self_test"].is_not(None)).label("self_tests"),
        )
        .select_from(workers.join(entry, sa.true()))
        .where(workers.c.expires_at > NOW, ~is_worker_paused(workers.c.name))
        .group_by(model)
        .order_by(model)
        .limit(MAX_MODELS),
        ModelWorkersRow,
    )
