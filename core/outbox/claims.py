"""The claim of deliveries: which are sent next, and how many to each destination at a time.

A destination is an endpoint, or the origin of a job's own URL. `claim` is one statement. It reads a few rows of each
destination, however many wait. `worker.webhooks.endpoint_health` knows which destinations are fast.
`worker.webhooks.deliver` sends the claimed deliveries, and `core.outbox.deliveries` records the result.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.clock import NOW, STATEMENT_TIME
from core.db import Statement, without_flush
from core.outbox.deliveries import is_pending, is_reachable, pending_destinations
from core.rows.webhook import ClaimedDelivery
from core.tables import batches, jobs
from core.tables import webhook_deliveries as deliveries
from core.tables import webhook_endpoints as endpoints


def claim(
    lease: UUID,
    *,
    limit: int,
    per_destination: int,
    length: timedelta,
    fast: Sequence[str],
    slow: Sequence[str] = (),
    for_others: int,
    quick: Sequence[str] = (),
    per_quick: int = 0,
    for_quick: int = 0,
) -> Statement[ClaimedDelivery]:
    """Claim up to `limit` deliveries that are due: the first of each destination, then the second, and so on.

    A destination in `fast` may have `per_destination` deliveries in transit, any other destination one. At most
    `for_others` deliveries to the other destinations are claimed; those in `slow` come last, in the order of the list.
    A fast destination that is also in `quick` may have `per_quick` in transit; of those beyond `per_destination`, at
    most `for_quick` are claimed.

    The deliveries of a destination are claimed in the order of their due times. The events of a job are sent in order:
    an event waits until the events before it are delivered or have failed. Each row has the data for sending: columns
    of the endpoint as `endpoint_...`, and the own `webhook` of the job or batch.
    """
    values = {
        "lease": lease,
        "limit": limit,
        "per_destination": per_destination,
        "length": length,
        "fast": list(fast),
        "slow": list(slow),
        "for_others": max(0, for_others),
        "quick": list(quick),
        "per_quick": max(per_quick, per_destination),
        "for_quick": max(0, for_quick),
    }
    return Statement(_CLAIM, ClaimedDelivery, values)


def _is_open(of: sa.FromClause) -> sa.ColumnElement[bool]:
    """Like `is_pending`, for rows that are looked up by other columns.

    It does not match the predicate of the partial index of pending deliveries, so the planner does not scan that index,
    which has all pending rows of a destination.
    """
    return of.c.finished_at.is_(None)


def _claim() -> sa.Select[Any]:
    """The statement of `claim`, with bind parameters."""
    destinations = pending_destinations()
    transit = _transit(destinations)
    turns = _turns(destinations, transit, _due(destinations, transit))
    claimed_rows = _with_endpoints(_with_lease(_selection(turns)))
    return without_flush(claimed_rows)  # if a crash of Postgres undoes it, the deliveries are claimed again


def _is_in(name: str, destinations: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether a destination is in a list of `claim`."""
    return destinations.c.destination == sa.any_(sa.bindparam(name, type_=ARRAY(sa.Text)))


def _number(name: str) -> sa.ColumnElement[int]:
    """A number of `claim`."""
    return sa.bindparam(name, type_=sa.BigInteger)


def _transit(destinations: sa.FromClause) -> sa.FromClause:
    """Of a destination: the count of its deliveries in transit, and its slots, the most that may be."""
    sending = deliveries.alias("sending")
    sending_count = (
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
    is_fast = _is_in("fast", destinations)
    slots = sa.case(
        (~is_reachable(destinations.c.destination), 0),  # given up by the sweep, or before it is enabled again
        (sa.and_(is_fast, _is_in("quick", destinations)), _number("per_quick")),
        (is_fast, _number("per_destination")),
        else_=1,
    )
    return sa.select(sending_count.label("count"), slots.label("slots")).correlate(destinations).lateral("transit")


def _due(destinations: sa.FromClause, transit: sa.FromClause) -> sa.FromClause:
    """Of a destination: its first deliveries that are due, as many as it has free slots."""
    delivery, predecessor = (deliveries.alias(name) for name in ("delivery", "predecessor"))
    has_predecessor = (
        sa.select(sa.literal(1))
        .where(
            predecessor.c.job_id == delivery.c.job_id,
            predecessor.c.destination == delivery.c.destination,
            predecessor.c.seq < delivery.c.seq,
            _is_open(predecessor),
        )
        .correlate(delivery)
        .exists()
    )
    return (
        sa.select(delivery.c.id, delivery.c.due_at, delivery.c.seq)
        .where(
            delivery.c.destination == destinations.c.destination,
            is_pending(delivery),
            delivery.c.due_at <= STATEMENT_TIME,
            ~has_predecessor,
        )
        .order_by(delivery.c.due_at, delivery.c.seq)
        .limit(sa.func.greatest(0, transit.c.slots - transit.c.count))
        .correlate(destinations, transit)
        .lateral("of_destination")
    )


def _turns(destinations: sa.FromClause, transit: sa.FromClause, due: sa.FromClause) -> sa.Subquery:
    """The deliveries that are due, each with its turn: its number among those of its destination."""
    is_fast = _is_in("fast", destinations)
    turn = transit.c.count + sa.func.row_number().over(
        partition_by=destinations.c.destination, order_by=(due.c.due_at, due.c.seq)
    )
    penalty = sa.func.coalesce(
        sa.func.array_position(sa.bindparam("slow", type_=ARRAY(sa.Text)), destinations.c.destination), 0
    )
    columns = (is_fast.label("is_fast"), penalty.label("penalty"), turn.label("turn"))
    return (
        sa.select(due.c.id, due.c.due_at, *columns)
        .select_from(destinations.join(transit, sa.true()).join(due, sa.true()))
        .where(sa.or_(is_fast, _number("for_others") > 0))
        .subquery("turns")
    )


def _selection(turns: sa.FromClause) -> sa.CTE:
    """The ids of the deliveries to claim: the first of each destination, then the second, and so on.

    `for_others` and `for_quick` are limits as in `claim`.
    """
    is_additional = turns.c.turn > _number("per_destination")
    position = sa.func.row_number().over(
        partition_by=(turns.c.is_fast, is_additional), order_by=(turns.c.penalty, turns.c.turn, turns.c.due_at)
    )
    candidates = sa.select(turns, is_additional.label("is_additional"), position.label("position")).subquery(
        "candidates"
    )
    has_slot = sa.case(
        (~candidates.c.is_fast, candidates.c.position <= _number("for_others")),
        (candidates.c.is_additional, candidates.c.position <= _number("for_quick")),
        else_=sa.true(),
    )
    return (
        sa.select(candidates.c.id)
        .where(has_slot)
        .order_by(candidates.c.turn, candidates.c.due_at)
        .limit(_number("limit"))
        .cte("selection")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def _with_lease(selection: sa.CTE) -> sa.CTE:
    """Put the selected deliveries under the lease, without those that another claim has locked."""
    pick = (
        sa.select(deliveries.c.id)
        .where(
            deliveries.c.id.in_(sa.select(selection.c.id)), _is_open(deliveries), deliveries.c.due_at <= STATEMENT_TIME
        )
        .with_for_update(skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return (
        sa.update(deliveries)
        .where(deliveries.c.id == pick.c.id)
        .values(lease=sa.bindparam("lease", type_=sa.Uuid), due_at=NOW + sa.bindparam("length", type_=sa.Interval))
        .returning(*deliveries.c)
        .cte("updated")
    )


def _with_endpoints(updated: sa.CTE) -> sa.Select[Any]:
    """The deliveries with the data for sending them."""
    names = ("url", "secret", "previous_secret", "previous_secret_until")
    return (
        sa.select(
            updated,
            *(endpoints.c[name].label(f"endpoint_{name}") for name in names),
            sa.func.coalesce(jobs.c.webhook, batches.c.webhook).label("webhook"),
            NOW.label("claimed_at"),
        )
        .select_from(
            updated.outerjoin(jobs, jobs.c.id == updated.c.job_id)
            .outerjoin(batches, batches.c.id == updated.c.batch_id)
            .outerjoin(endpoints, endpoints.c.id == updated.c.endpoint_id)
        )
        .order_by(updated.c.seq)
    )


_CLAIM = _claim()
