"""Queues and workers that an operator has paused or drains."""

from sqlalchemy import CheckConstraint, Column, ColumnElement, Exists, Table, Text, func, literal_column, select

from core.tables.base import NOW, Time, metadata, one_of

PAUSE_KINDS = ("queue", "worker")
"""What can be paused."""

PAUSE_STATES = ("paused", "draining")
"""A paused queue accepts jobs, and nothing is claimed from it. A draining queue is worked off and accepts none.

A worker claims nothing in both states; one that drains also frees its device.
"""

pauses = Table(
    "pauses",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True, comment="a queue; or a worker, or the host of workers"),
    Column("state", Text, nullable=False),
    Column("created_at", Time, nullable=False, server_default=NOW),
    CheckConstraint(one_of("kind", PAUSE_KINDS), name="kind"),
    CheckConstraint(one_of("state", PAUSE_STATES), name="state"),
)


def host_of(worker: ColumnElement[str]) -> ColumnElement[str]:
    """The host in the name of a worker, `host:pid`."""
    return func.split_part(worker, ":", 1)


def is_pause_of_queue(queue: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a pause stops claims from a queue."""
    return (pauses.c.kind == "queue") & (pauses.c.name == queue) & (pauses.c.state == literal_column("'paused'"))


def is_pause_of_worker(worker: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a pause is that of a worker, or of its host."""
    return (pauses.c.kind == "worker") & pauses.c.name.in_([worker, host_of(worker)])


def is_worker_paused(worker: ColumnElement[str]) -> Exists:
    """Whether a worker, or its host, is paused or drains. worker: a column of another table."""
    return select(literal_column("1")).select_from(pauses).where(is_pause_of_worker(worker)).exists()
