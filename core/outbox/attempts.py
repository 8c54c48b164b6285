"""The attempts of deliveries: the statements that record them, each with the state of its delivery and its endpoint."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from core.clock import NOW
from core.db import Statement
from core.outbox.deliveries import GIVE_UP_LIMIT, fail_deliveries, select_pending
from core.rows.webhook import AttemptRow, DeliveryRow
from core.status import DeliveryStatus
from core.tables import webhook_attempts as attempts
from core.tables import webhook_deliveries as deliveries
from core.tables import webhook_endpoints as endpoints


@dataclass(frozen=True, slots=True)
class Attempt:
    """The result of one attempt."""

    started_at: datetime
    seconds: float
    status_code: int | None = None
    error_code: str | None = None
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Success:
    """A delivery that the receiver accepted. lease: that of its claim."""

    delivery_id: str
    lease: UUID
    attempt: Attempt


def record_successes(*successes: Success) -> Statement[DeliveryRow]:
    """Record answers with 2xx. A delivery whose lease was lost has no row: another sender has claimed it since."""
    values: dict[str, list[Any]] = {name: [] for name in _SUCCESS_COLUMNS}
    for success in successes:
        values["delivery_id"].append(success.delivery_id)
        values["claimed_lease"].append(success.lease)
        for name in Attempt.__slots__:
            values[name].append(getattr(success.attempt, name))
    return Statement(_RECORD_SUCCESSES, DeliveryRow, values)


def record_failure(
    delivery_id: str,
    lease: UUID,
    attempt: Attempt,
    *,
    retry_in: timedelta | None,
    is_gone: bool = False,
    patience: timedelta = timedelta(days=1),
) -> Statement[DeliveryRow]:
    """Record a failed attempt. The next is in `retry_in`; with None the delivery has failed.

    The endpoint is disabled if `is_gone`, or if the delivery has failed and the endpoint has accepted nothing for
    `patience`. Its other pending deliveries then fail too. No row is returned if the lease was lost.
    """
    status = DeliveryStatus.FAILED if retry_in is None else DeliveryStatus.PENDING
    updated = _update(status)
    failing_since = sa.func.coalesce(endpoints.c.failing_since, NOW)
    disables: sa.ColumnElement[bool] = sa.literal(is_gone)
    reason: sa.ColumnElement[str] = sa.literal("The receiver answered 410 Gone.")
    if retry_in is None and not is_gone:
        disables = failing_since <= NOW - sa.literal(patience, sa.Interval)
        since = sa.func.to_char(sa.func.timezone("UTC", failing_since), 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        reason = sa.literal("Every delivery has failed since ") + since + sa.literal(".")
    failing_endpoint = (
        sa.update(endpoints)
        .where(
            endpoints.c.id == updated.c.endpoint_id,
            endpoints.c.disabled_at.is_(None),
            sa.or_(endpoints.c.failing_since.is_(None), disables),
        )
        .values(
            failing_since=failing_since,
            disabled_at=sa.case((disables, NOW)),
            disabled_reason=sa.case((disables, reason)),
        )
        .returning(endpoints.c.id, endpoints.c.disabled_at)
        .cte("failing_endpoint")
    )
    disabled = sa.select(failing_endpoint.c.id).where(failing_endpoint.c.disabled_at.is_not(None)).scalar_subquery()
    remaining = select_pending(disabled, GIVE_UP_LIMIT, deliveries.c.id != delivery_id)
    failures = fail_deliveries(remaining, "endpoint_disabled").cte("failures")
    statement = sa.select(updated).add_cte(_insert_attempt(updated), failing_endpoint, failures)
    return Statement(statement.params(**_bind_values(delivery_id, lease, attempt, retry_in)), DeliveryRow)


def list_attempts(delivery_id: str) -> Statement[AttemptRow]:
    """The attempts of a delivery, in order."""
    return Statement(
        sa.select(attempts).where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.number), AttemptRow
    )


def _bind_values(
    delivery_id: str, lease: UUID, attempt: Attempt, retry_in: timedelta | None = None
) -> dict[str, str | UUID | timedelta | datetime | float | None]:
    """The values of the bind parameters of `_update` and `_insert_attempt`."""
    return {
        "recorded_id": delivery_id,
        "claimed_lease": lease,
        "retry_in": retry_in or timedelta(0),
        **{name: getattr(attempt, name) for name in Attempt.__slots__},
    }


def _update(status: DeliveryStatus) -> sa.CTE:
    return (
        sa.update(deliveries)
        .where(
            deliveries.c.id == sa.bindparam("recorded_id", type_=sa.Text),
            deliveries.c.lease == sa.bindparam("claimed_lease", type_=sa.Uuid),
        )
        .values(
            {
                "status": status,
                "attempts": deliveries.c.attempts + 1,
                "due_at": NOW + sa.bindparam("retry_in", type_=sa.Interval),
                "finished_at": None if status is DeliveryStatus.PENDING else NOW,
                "lease": None,
                "status_code": sa.bindparam("status_code", type_=sa.SmallInteger),
                "error_code": sa.bindparam("error_code", type_=sa.Text),
            }
        )
        .returning(*deliveries.c)
        .cte("updated")
    )


def _insert_attempt(updated: sa.CTE) -> sa.CTE:
    values = [
        updated.c.id,
        updated.c.attempts,
        sa.bindparam("started_at", type_=sa.DateTime(timezone=True)),
        sa.bindparam("seconds", type_=sa.Double),
        sa.bindparam("status_code", type_=sa.SmallInteger),
        sa.bindparam("error_code", type_=sa.Text),
        sa.bindparam("answer", type_=sa.Text),
    ]
    return sa.insert(attempts).from_select([column.name for column in attempts.c], sa.select(*values)).cte("log")


_SUCCESS_COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "delivery_id": sa.Text(),
    "claimed_lease": sa.Uuid(),
    "started_at": sa.DateTime(timezone=True),
    "seconds": sa.Double(),
    "status_code": sa.SmallInteger(),
    "error_code": sa.Text(),
    "answer": sa.Text(),
}


def _build_successes() -> sa.Select[Any]:
    """The statement of `record_successes`, with bind parameters."""
    successes = (
        sa.func.unnest(*(sa.bindparam(name, type_=ARRAY(type_)) for name, type_ in _SUCCESS_COLUMNS.items()))
        .table_valued(*(sa.column(name, type_) for name, type_ in _SUCCESS_COLUMNS.items()), name="successes")
        .render_derived()
    )
    attempt = [successes.c[name] for name in Attempt.__slots__]
    updated = (
        sa.update(deliveries)
        .where(deliveries.c.id == successes.c.delivery_id, deliveries.c.lease == successes.c.claimed_lease)
        .values(
            {
                "status": DeliveryStatus.DELIVERED,
                "attempts": deliveries.c.attempts + 1,
                "due_at": NOW,
                "finished_at": NOW,
                "lease": None,
                "status_code": successes.c.status_code,
                "error_code": None,
            }
        )
        .returning(*deliveries.c, *(column.label(f"attempt_{column.name}") for column in attempt))
        .cte("updated")
    )
    entries = [updated.c.id, updated.c.attempts, *(updated.c[f"attempt_{column.name}"] for column in attempt)]
    attempt_log = (
        sa.insert(attempts).from_select([column.name for column in attempts.c], sa.select(*entries)).cte("log")
    )
    # In one order, as another deliverer may record successes of the same endpoints.
    failing = (
        sa.select(endpoints.c.id)
        .where(endpoints.c.id.in_(sa.select(updated.c.endpoint_id)), endpoints.c.failing_since.is_not(None))
        .order_by(endpoints.c.id)
        .with_for_update()
        .cte("failing")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    working_endpoints = (
        sa.update(endpoints).where(endpoints.c.id == failing.c.id).values(failing_since=None).cte("working_endpoints")
    )
    return sa.select(*(updated.c[column.key] for column in deliveries.c)).add_cte(attempt_log, working_endpoints)


_RECORD_SUCCESSES = _build_successes()  # built once: to build it takes longer than to run it
