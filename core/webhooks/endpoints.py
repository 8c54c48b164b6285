"""Webhook endpoints of a project: create, read, update, rotate the secret, delete.

Deliveries are in `core.outbox.deliveries`, signatures in `core.outbox.signing`; `worker.webhooks.deliver` sends.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from core.clock import NOW
from core.db import Statement
from core.ids import new_id
from core.outbox import deliveries
from core.rows.webhook import EndpointRow
from core.tables import projects
from core.tables import webhook_endpoints as endpoints

ROTATION = timedelta(hours=24)
"""How long the previous secret signs too after a rotation, on request."""


def lock_project(project_id: str) -> Statement[str]:
    """Lock a project until the transaction ends, so that the count of `create` stays true."""
    return Statement(sa.select(projects.c.id).where(projects.c.id == project_id).with_for_update(key_share=True), str)


def create(
    project_id: str, name: str, url: str, event_types: Sequence[str], secret: str, *, max_endpoints: int | None = None
) -> Statement[EndpointRow]:
    """Create an endpoint. No row is returned if the project already has `max_endpoints`."""
    values = {
        "id": sa.literal(new_id("we")),
        "project_id": sa.literal(project_id),
        "name": sa.literal(name),
        "url": sa.literal(url),
        "event_types": sa.literal(list(event_types), JSONB),
        "secret": sa.literal(secret),
    }
    source = sa.select(*values.values())
    if max_endpoints is not None:
        endpoint_count = sa.select(sa.func.count()).where(endpoints.c.project_id == project_id).scalar_subquery()
        source = source.where(endpoint_count < max_endpoints)
    return Statement(sa.insert(endpoints).from_select(list(values), source).returning(*endpoints.c), EndpointRow)


_HOST = "^[a-zA-Z]+://(?:[^/?#@]*@)?(\\[[^]]*\\]|[^:/?#]*)"


def list_same_host(project_id: str, url: str, *, besides: str = "") -> Statement[EndpointRow]:
    """The endpoints of a project on the host of a URL, without the endpoint `besides`."""

    def host(of: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        return sa.func.rtrim(sa.func.lower(sa.func.substring(of, sa.literal(_HOST))), ".")

    is_same_host = host(endpoints.c.url) == host(sa.literal(url, sa.Text))
    return Statement(
        sa.select(endpoints).where(endpoints.c.project_id == project_id, endpoints.c.id != besides, is_same_host),
        EndpointRow,
    )


def get_endpoint(project_id: str, endpoint_id: str) -> Statement[EndpointRow]:
    """One endpoint of a project."""
    return Statement(sa.select(endpoints).where(_is_endpoint(project_id, endpoint_id)), EndpointRow)


def list_endpoints(project_id: str, *, limit: int, after: str | None = None) -> Statement[EndpointRow]:
    """Endpoints, newest first. `after` is the id of the last one of the page before."""
    statement = sa.select(endpoints).where(endpoints.c.project_id == project_id)
    if after is not None:
        statement = statement.where(endpoints.c.id < after)
    return Statement(statement.order_by(endpoints.c.id.desc()).limit(limit), EndpointRow)


def update(
    project_id: str, endpoint_id: str, changes: Mapping[str, Any], *, enable: bool | None = None
) -> Statement[EndpointRow]:
    """Change name, url or event_types; enable or disable. No row is returned if there is no such endpoint.

    Before it is enabled, run `core.outbox.deliveries.give_up_waiting` until it returns nothing: deliveries that waited
    when it was disabled must not be sent.
    """
    values: dict[str, Any] = {**changes, "updated_at": NOW}
    if enable:
        values |= {"disabled_at": None, "disabled_reason": None, "failing_since": None}
    elif enable is False:
        values |= {
            "disabled_at": sa.func.coalesce(endpoints.c.disabled_at, NOW),
            "disabled_reason": sa.func.coalesce(endpoints.c.disabled_reason, "Disabled by its owner."),
        }
    updated = (
        sa.update(endpoints)
        .where(_is_endpoint(project_id, endpoint_id))
        .values(values)
        .returning(*endpoints.c)
        .cte("updated")
    )
    statement = sa.select(updated)
    if enable is False:
        failures = deliveries.give_up(sa.select(updated.c.id).scalar_subquery(), "endpoint_disabled")
        statement = statement.add_cte(failures.cte("failures"))
    return Statement(statement, EndpointRow)


def rotate(project_id: str, endpoint_id: str, secret: str, *, keep_previous: bool) -> Statement[EndpointRow]:
    """Replace the secret. With `keep_previous` the old one signs too, for ROTATION."""
    return Statement(
        (
            sa.update(endpoints)
            .where(_is_endpoint(project_id, endpoint_id))
            .values(
                secret=secret,
                previous_secret=endpoints.c.secret if keep_previous else None,
                previous_secret_until=NOW + ROTATION if keep_previous else None,
                updated_at=NOW,
            )
            .returning(*endpoints.c)
        ),
        EndpointRow,
    )


def delete(project_id: str, endpoint_id: str) -> Statement[str]:
    """Delete an endpoint and fail its pending deliveries. No row is returned if there is no such endpoint."""
    deleted = sa.delete(endpoints).where(_is_endpoint(project_id, endpoint_id)).returning(endpoints.c.id).cte("deleted")
    failures = deliveries.give_up(sa.select(deleted.c.id).scalar_subquery(), "endpoint_deleted")
    return Statement(sa.select(deleted.c.id).add_cte(failures.cte("failures")), str)


def _is_endpoint(project_id: str, endpoint_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(endpoints.c.id == endpoint_id, endpoints.c.project_id == project_id)
