"""Lanes: in which order what is due leaves, and how much of it at a time.

A lane is a receiver: an endpoint, or the origin of a job's own URL. `claim` is one statement, which however long the
lanes are looks at a few rows of each; who is quick is known to `worker.webhooks.endpoint_health`. What is claimed is
sent by `worker.webhooks.deliver` and recorded by `core.outbox.deliveries`.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement
from core.outbox.deliveries import is_pending, is_reachable, pending_destinations
from core.rows import ClaimedDelivery
from core.tables import batches, jobs
from core.tables import webhook_deliveries as deliveries
from core.tables import webhook_endpoints as endpoints


def claim(
    lease: UUID,
    *,
    limit: int,
    per_destination: int,
    length: timedelta,
    quick: Sequence[str],
    slow: Sequence[str] = (),
    for_others: int,
) -> Statement[ClaimedDelivery]:
    """Take deliveries that are due, at most `limit`, the longest waiting first.

    A destination in `quick` has at most `per_destination` deliveries under way, any other at most one. `for_others`
    deliveries to the others are claimed at most, those in `slow` last and in the order of the list. The events of a job
    go in order: a later event waits until an earlier one is delivered or given up. Each row has what sending needs: the
    endpoint's columns under `endpoint_...`, and the job's own `webhook`.
    """
    return Statement(
        _CLAIM.params(
            lease=lease,
            limit=limit,
            per_destination=per_destination,
            length=length,
            quick=list(quick),
            slow=list(slow),
            for_others=max(0, for_others),
        ),
        ClaimedDelivery,
    )


def _is_open(of: sa.FromClause) -> sa.ColumnElement[bool]:
    """As `is_pending`, for rows found by other columns: the index of what waits in a lane is as long as the lane."""
    return of.c.finished_at.is_(None)


def _claim() -> sa.Select[Any]:
    """The statement of `claim`, its values left open."""
    destinations = pending_destinations()
    waiting, earlier, sending = (deliveries.alias(name) for name in ("waiting", "earlier", "sending"))
    before = (
        sa.select(sa.literal(1))
        .where(
            earlier.c.job_id == waiting.c.job_id,
            earlier.c.destination == waiting.c.destination,
            earlier.c.seq < waiting.c.seq,
            _is_open(earlier),
        )
        .correlate(waiting)
        .exists()
    )
    under_way = (
        sa.select(sa.func.count())
        .select_from(sending)
        .where(
            sending.c.destination == destinations.c.destination,
            sending.c.lease.is_not(None),
            sending.c.due_at > STATEMENT_TIME,
        )
        .correlate(destinations)
        .scalar_subquery()
    )
    is_quick = destinations.c.destination == sa.any_(sa.bindparam("quick", type_=ARRAY(sa.Text)))
    slots = sa.case(
        (~is_reachable(destinations.c.destination), 0),  # given up by the sweep, or before it is enabled again
        (is_quick, sa.bindparam("per_destination", type_=sa.BigInteger)),
        else_=1,
    )
    of_destination = (
        sa.select(waiting.c.id, waiting.c.due_at)
        .where(
            waiting.c.destination == destinations.c.destination,
            is_pending(waiting),
            waiting.c.due_at <= STATEMENT_TIME,
            ~before,
        )
        .order_by(waiting.c.due_at, waiting.c.seq)
        .limit(sa.func.greatest(0, slots - under_way))
        .correlate(destinations)
        .lateral("of_lane")
    )
    for_others = sa.bindparam("for_others", type_=sa.BigInteger)
    turn = sa.func.coalesce(
        sa.func.array_position(sa.bindparam("slow", type_=ARRAY(sa.Text)), destinations.c.destination), 0
    )
    place = sa.func.row_number().over(partition_by=is_quick, order_by=(turn, of_destination.c.due_at))
    ready = (
        sa.select(of_destination.c.id, of_destination.c.due_at, is_quick.label("is_quick"), place.label("place"))
        .select_from(destinations.join(of_destination, sa.true()))
        .where(sa.or_(is_quick, for_others > 0))
        .subquery("ready")
    )
    due = (
        sa.select(ready.c.id)
        .where(sa.or_(ready.c.is_quick, ready.c.place <= for_others))
        .order_by(ready.c.due_at)
        .limit(sa.bindparam("limit", type_=sa.BigInteger))
        .cte("due")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    pick = (
        sa.select(deliveries.c.id)
        .where(deliveries.c.id.in_(sa.select(due.c.id)), _is_open(deliveries), deliveries.c.due_at <= STATEMENT_TIME)
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    moved = (
        sa.update(deliveries)
        .where(deliveries.c.id == pick.c.id)
        .values(lease=sa.bindparam("lease", type_=sa.Uuid), due_at=NOW + sa.bindparam("length", type_=sa.Interval))
        .returning(*deliveries.c)
        .cte("moved")
    )
    names = ("url", "secret", "previous_secret", "previous_secret_until")
    return (
        sa.select(
            moved,
            *(endpoints.c[name].label(f"endpoint_{name}") for name in names),
            sa.func.coalesce(jobs.c.webhook, batches.c.webhook).label("webhook"),
            NOW.label("claimed_at"),
        )
        .select_from(
            moved.outerjoin(jobs, jobs.c.id == moved.c.job_id)
            .outerjoin(batches, batches.c.id == moved.c.batch_id)
            .outerjoin(endpoints, endpoints.c.id == moved.c.endpoint_id)
        )
        .order_by(moved.c.seq)
    )


_CLAIM = _claim()
