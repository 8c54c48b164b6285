"""Queues and workers that an operator has paused: nothing is claimed from them or by them."""

from sqlalchemy import CheckConstraint, Column, Table, Text

from core.tables.base import NOW, Time, metadata, one_of

PAUSE_KINDS = ("queue", "worker")
"""What can be paused."""

PAUSE_STATES = ("paused", "draining")
"""Both stop claims. A drain also says that the operator waits for the micro-batches in hand."""

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
