"""Deliveries: each is one event to one destination. Statements that insert and record them.

`insert_deliveries` is part of the statement that updates a job or a batch, so that no event lacks its deliveries. The
other functions build one statement each. `core.outbox.claims.claim` moves `due_at` beyond the longest time that sending
may take: if the sender dies, the delivery is due again. A receiver may get an event twice, but never misses it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from core.clock import NOW
from core.db import Statement
from core.event_types import Subject
from core.status import DeliveryStatus
from core.tables import webhook_attempts as attempts
from core.tables import webhook_deliveries as deliveries
from core.tables import webhook_endpoints as endpoints
from core.webhook_rows import AttemptRow, DeliveryRow

GIVE_UP_LIMIT = 1000
"""Deliveries that the statement which disables or deletes an endpoint fails itself; the sweep fails the rest."""

_ORIGIN = "^[a-zA-Z]+://[^/?#]+"


def insert_deliveries(updated: sa.CTE, event: sa.CTE, subject: Subject) -> sa.CTE:
    """Insert the deliveries of new events: a CTE of the statement that writes the events (`core.events`).

    An event is delivered to each enabled endpoint of the project that subscribes to its type, and to the own webhook of
    the job or batch if that does.
    """
    subject_id = f"{subject}_id"
    columns = [
        updated.c.project_id,
        updated.c.id,
        event.c.id.label("event_id"),
        event.c.type.label("event_type"),
        event.c.created_at,
    ]
    event_of_update = sa.join(event, updated, updated.c.id == event.c[subject_id])
    subscribed = sa.and_(
        endpoints.c.project_id == updated.c.project_id,
        endpoints.c.disabled_at.is_(None),
        endpoints.c.event_types.has_key(event.c.type),
    )
    own_url = updated.c.webhook["url"].astext
    to_endpoints = sa.select(
        *columns, endpoints.c.id.label("endpoint_id"), endpoints.c.id.label("destination")
    ).select_from(event_of_update.join(endpoints, subscribed))
    to_own_webhook = (
        sa.select(*columns, sa.null(), sa.func.substring(own_url, sa.literal_column(f"'{_ORIGIN}'")))
        .select_from(event_of_update)
        .where(updated.c.webhook.is_not(None), sa.cast(updated.c.webhook["events"], JSONB).has_key(event.c.type))
    )
    # An endpoint with the same URL gets the event already. A webhook with a secret of its own has another signature.
    has_endpoint = sa.exists().where(subscribed, endpoints.c.url == own_url)
    to_own_webhook = to_own_webhook.where(
        sa.or_(updated.c.webhook["secret"].astext.is_not(None), ~has_endpoint.correlate(updated, event))
    )
    names = ["project_id", subject_id, "event_id", "event_type", "event_at", "endpoint_id", "destination"]
    created = sa.insert(deliveries).from_select(names, sa.union_all(to_endpoints, to_own_webhook))
    return created.cte("created")


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
    remaining = _select_pending(disabled, GIVE_UP_LIMIT, deliveries.c.id != delivery_id)
    abandoned = _give_up(remaining, "endpoint_disabled").cte("abandoned")
    statement = sa.select(updated).add_cte(_insert_attempt(updated), failing_endpoint, abandoned)
    return Statement(statement.params(**_bind_values(delivery_id, lease, attempt, retry_in)), DeliveryRow)


def give_up(endpoint_id: sa.ColumnElement[str], error_code: str) -> sa.Update:
    """Fail GIVE_UP_LIMIT pending deliveries to an endpoint, as part of the statement that disables or deletes it.

    `give_up_unreachable` fails the rest later; until then `core.outbox.claims.claim` passes them over.
    """
    return _give_up(_select_pending(endpoint_id, GIVE_UP_LIMIT), error_code)


def give_up_waiting(endpoint_id: str, limit: int) -> Statement[str]:
    """Fail pending deliveries to a disabled endpoint, `limit` at most: to be run before it is enabled again."""
    disabled = (
        sa.select(endpoints.c.id)
        .where(endpoints.c.id == endpoint_id, endpoints.c.disabled_at.is_not(None))
        .scalar_subquery()
    )
    statement = _give_up(_select_pending(disabled, limit), "endpoint_disabled")
    return Statement(statement.returning(deliveries.c.id), str)


def give_up_unreachable(limit: int) -> Statement[str]:
    """Fail up to `limit` pending deliveries to disabled or deleted endpoints; returns their ids."""
    destinations = pending_destinations()
    pending_delivery = deliveries.alias("pending_delivery")
    is_disabled = sa.exists().where(endpoints.c.id == destinations.c.destination)
    unreachable = (
        sa.select(destinations.c.destination, sa.case((is_disabled, "endpoint_disabled"), else_="endpoint_deleted"))
        .where(destinations.c.destination.is_not(None), ~is_reachable(destinations.c.destination))
        .cte("unreachable")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    destination, error_code = unreachable.c
    of_destination = (
        sa.select(pending_delivery.c.id)
        .where(pending_delivery.c.destination == destination, is_pending(pending_delivery))
        .order_by(pending_delivery.c.due_at)
        .limit(limit)
        .lateral("of_destination")
    )
    first = (
        sa.select(of_destination.c.id, error_code.label("error_code"))
        .select_from(unreachable.join(of_destination, sa.true()))
        .limit(limit)
        .cte("first")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    pick = (
        sa.select(deliveries.c.id, first.c.error_code)
        .where(deliveries.c.id == first.c.id, deliveries.c.finished_at.is_(None))
        .with_for_update(of=deliveries, skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    statement = sa.update(deliveries).where(deliveries.c.id == pick.c.id).values(_failure_values(pick.c.error_code))
    return Statement(statement.returning(deliveries.c.id), str)


def is_pending(of: sa.FromClause = deliveries) -> sa.ColumnElement[bool]:
    """Whether a delivery is to be sent; a constant in the SQL, so that the partial index of a destination is used."""
    return of.c.status == sa.literal_column("'pending'")


def is_reachable(destination: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether anything may be sent to a destination: an endpoint that is enabled, or the origin of a job's own URL."""
    enabled = sa.select(sa.literal(1)).where(endpoints.c.id == destination, endpoints.c.disabled_at.is_(None))
    return sa.or_(sa.func.strpos(destination, "://") > 0, enabled.correlate_except(endpoints).exists())


def pending_destinations() -> sa.CTE:
    """Each destination for which something waits: a look into the index for each, however much waits there."""
    first = (
        sa.select(deliveries.c.destination).where(is_pending(deliveries)).order_by(deliveries.c.destination).limit(1)
    )
    destinations = sa.select(first.subquery("first").c.destination).cte("destinations", recursive=True)
    other = deliveries.alias("other")
    following = (
        sa.select(other.c.destination)
        .where(is_pending(other), other.c.destination > destinations.c.destination)
        .order_by(other.c.destination)
        .limit(1)
        .correlate(destinations)
        .scalar_subquery()
    )
    return destinations.union_all(sa.select(following).where(destinations.c.destination.is_not(None)))


def get_delivery(project_id: str, delivery_id: str) -> Statement[DeliveryRow]:
    """One delivery of a project."""
    return Statement(
        sa.select(deliveries).where(deliveries.c.id == delivery_id, deliveries.c.project_id == project_id), DeliveryRow
    )


def list_deliveries(
    project_id: str,
    *,
    limit: int,
    endpoint_id: str | None = None,
    job_id: str | None = None,
    batch_id: str | None = None,
    after: str | None = None,
) -> Statement[DeliveryRow]:
    """Deliveries to an endpoint, of a job or a batch, newest first. `after` is the last id of the page before."""
    statement = sa.select(deliveries).where(deliveries.c.project_id == project_id)
    if endpoint_id is not None:
        statement = statement.where(deliveries.c.endpoint_id == endpoint_id)
    if job_id is not None:
        statement = statement.where(deliveries.c.job_id == job_id)
    if batch_id is not None:
        statement = statement.where(deliveries.c.batch_id == batch_id)
    if after is not None:
        statement = statement.where(deliveries.c.id < after)
    return Statement(statement.order_by(deliveries.c.id.desc()).limit(limit), DeliveryRow)


def attempts_of(delivery_id: str) -> Statement[AttemptRow]:
    """The attempts of a delivery, in order."""
    return Statement(
        sa.select(attempts).where(attempts.c.delivery_id == delivery_id).order_by(attempts.c.number), AttemptRow
    )


def _select_pending(endpoint_id: sa.ColumnElement[str], limit: int, *conditions: sa.ColumnElement[bool]) -> sa.CTE:
    """Some pending deliveries to an endpoint. The index is on `destination`, which is the endpoint's id."""
    return (
        sa.select(deliveries.c.id)
        .where(deliveries.c.destination == endpoint_id, is_pending(), *conditions)
        .limit(limit)
        .with_for_update(of=deliveries, skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def _give_up(pick: sa.CTE, error_code: str) -> sa.Update:
    return sa.update(deliveries).where(deliveries.c.id == pick.c.id).values(_failure_values(error_code))


def _failure_values(error_code: str | sa.ColumnElement[str]) -> dict[str, Any]:
    return {"status": DeliveryStatus.FAILED, "error_code": error_code, "finished_at": NOW, "lease": None}


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
