"""Deliveries: each is one event to one destination. Statements that insert, list and give them up.

`insert_deliveries` is part of the statement that updates a job or a batch, so that no event lacks its deliveries. The
other functions build one statement each. `core.outbox.claims.claim` moves `due_at` beyond the longest time that sending
may take: if the sender dies, the delivery is due again. A receiver may get an event twice, but never misses it.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from core.clock import NOW
from core.db import Statement
from core.event_types import Subject
from core.rows.webhook import DeliveryRow
from core.status import DeliveryStatus
from core.tables import webhook_deliveries as deliveries
from core.tables import webhook_endpoints as endpoints

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


def give_up(endpoint_id: sa.ColumnElement[str], error_code: str) -> sa.Update:
    """Fail GIVE_UP_LIMIT pending deliveries to an endpoint, as part of the statement that disables or deletes it.

    `give_up_unreachable` fails the rest later; until then `core.outbox.claims.claim` passes them over.
    """
    return fail_deliveries(select_pending(endpoint_id, GIVE_UP_LIMIT), error_code)


def give_up_waiting(endpoint_id: str, limit: int) -> Statement[str]:
    """Fail pending deliveries to a disabled endpoint, `limit` at most: to be run before it is enabled again."""
    disabled = (
        sa.select(endpoints.c.id)
        .where(endpoints.c.id == endpoint_id, endpoints.c.disabled_at.is_not(None))
        .scalar_subquery()
    )
    statement = fail_deliveries(select_pending(disabled, limit), "endpoint_disabled")
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


def select_pending(endpoint_id: sa.ColumnElement[str], limit: int, *conditions: sa.ColumnElement[bool]) -> sa.CTE:
    """Some pending deliveries to an endpoint. The index is on `destination`, which is the endpoint's id."""
    return (
        sa.select(deliveries.c.id)
        .where(deliveries.c.destination == endpoint_id, is_pending(), *conditions)
        .limit(limit)
        .with_for_update(of=deliveries, skip_locked=True)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )


def fail_deliveries(pick: sa.CTE, error_code: str) -> sa.Update:
    """Fail the deliveries that a CTE has picked."""
    return sa.update(deliveries).where(deliveries.c.id == pick.c.id).values(_failure_values(error_code))


def _failure_values(error_code: str | sa.ColumnElement[str]) -> dict[str, Any]:
    return {"status": DeliveryStatus.FAILED, "error_code": error_code, "finished_at": NOW, "lease": None}
