"""Deliveries that have failed for good, for operators. Each statement reads an index, up to a maximum of rows."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from core.db import Statement
from core.status import DeliveryStatus
from core.tables import webhook_deliveries as deliveries

MAX_COUNTED = 10_000
"""Dead deliveries that are counted by destination, the newest."""


@dataclass(slots=True)
class DeadDelivery:
    """A delivery without a further attempt; the codes are those of the last one."""

    id: str
    project_id: str
    job_id: str | None
    batch_id: str | None
    endpoint_id: str | None
    destination: str
    event_type: str
    attempts: int
    status_code: int | None
    error_code: str | None
    created_at: datetime
    finished_at: datetime


@dataclass(slots=True)
class DeadDestination:
    """How many of the counted deliveries failed at a destination, and when the last one did."""

    project_id: str
    destination: str
    deliveries: int
    finished_at: datetime


_IS_DEAD = deliveries.c.status == sa.literal_column(f"'{DeliveryStatus.FAILED}'")
"""A constant in the SQL, so that the partial index is used."""


def list_dead(*, limit: int, after: str | None = None) -> Statement[DeadDelivery]:
    """Dead deliveries of all projects, the newest first. after: the id of the last one of the page before."""
    statement = sa.select(*(deliveries.c[name] for name in DeadDelivery.__slots__))
    if after is not None:
        statement = statement.where(deliveries.c.id < after)
    return Statement(statement.where(_IS_DEAD).order_by(deliveries.c.id.desc()).limit(limit), DeadDelivery)


def count_dead(*, limit: int, counted_deliveries: int = MAX_COUNTED) -> Statement[DeadDestination]:
    """The destinations of the counted_deliveries newest dead deliveries, those with the most first."""
    newest = (
        sa.select(deliveries.c.project_id, deliveries.c.destination, deliveries.c.finished_at)
        .where(_IS_DEAD)
        .order_by(deliveries.c.id.desc())
        .limit(counted_deliveries)
        .cte("newest")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    count = sa.func.count()
    return Statement(
        sa.select(
            newest.c.project_id,
            newest.c.destination,
            count.label("deliveries"),
            sa.func.max(newest.c.finished_at).label("finished_at"),
        )
        .group_by(newest.c.project_id, newest.c.destination)
        .order_by(count.desc(), newest.c.destination)
        .limit(limit),
        DeadDestination,
    )
