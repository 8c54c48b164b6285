"""Webhook endpoints of a project: who is told of events, and how what is told is signed.

Signatures follow Standard Webhooks 1.0.0: HMAC-SHA256 of `id.timestamp.body` under the secret's bytes. While a secret
is being replaced, both sign. What is on its way is in `core.outbox.deliveries`; sending is `worker.webhooks.deliver`.
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
from core.rows import EndpointRow
from core.tables import projects
from core.tables import webhook_endpoints as endpoints

ROTATION = timedelta(hours=24)
"""How long the old secret signs beside the new one, if asked for."""


def lock_project(project_id: str) -> Statement[str]:
    """Keep others from making endpoints until the transaction ends, so that what `create` counts is all there is."""
    return Statement(sa.select(projects.c.id).where(projects.c.id == project_id).with_for_update(key_share=True), str)


def create(
    project_id: str, name: str, url: str, event_types: Sequence[str], secret: str, *, at_most: int | None = None
) -> Statement[EndpointRow]:
    """Make an endpoint and return its row; none where the project has `at_most` already."""
    values = {
        "id": sa.literal(new_id("we")),
        "project_id": sa.literal(project_id),
        "name": sa.literal(name),
        "url": sa.literal(url),
        "event_types": sa.literal(list(event_types), JSONB),
        "secret": sa.literal(secret),
    }
    made = sa.select(*values.values())
    if at_most is not None:
        known = sa.select(sa.func.count()).where(endpoints.c.project_id == project_id).scalar_subquery()
        made = made.where(known < at_most)
    return Statement(sa.insert(endpoints).from_select(list(values), made).returning(*endpoints.c), EndpointRow)


def get_endpoint(project_id: str, endpoint_id: str) -> Statement[EndpointRow]:
    """One endpoint of a project."""
    return Statement(sa.select(endpoints).where(_is(project_id, endpoint_id)), EndpointRow)


def list_endpoints(project_id: str, *, limit: int, after: str | None = None) -> Statement[EndpointRow]:
    """Endpoints, newest first. `after` is the id of the last one of the page before."""
    found = sa.select(endpoints).where(endpoints.c.project_id == project_id)
    if after is not None:
        found = found.where(endpoints.c.id < after)
    return Statement(found.order_by(endpoints.c.id.desc()).limit(limit), EndpointRow)


def update(
    project_id: str, endpoint_id: str, changes: Mapping[str, Any], *, enable: bool | None = None
) -> Statement[EndpointRow]:
    """Change name, url or event_types; let it be told again, or no more. No row back: there is no such endpoint.

    Before it is let be told again, `core.outbox.deliveries.give_up_waiting` is to be run until nothing comes back:
    what waited when it was disabled was given up then, and is not sent after all.
    """
    values: dict[str, Any] = {**changes, "updated_at": NOW}
    if enable:
        values |= {"disabled_at": None, "disabled_reason": None, "failing_since": None}
    elif enable is False:
        values |= {
            "disabled_at": sa.func.coalesce(endpoints.c.disabled_at, NOW),
            "disabled_reason": sa.func.coalesce(endpoints.c.disabled_reason, "Disabled by its owner."),
        }
    changed = (
        sa.update(endpoints).where(_is(project_id, endpoint_id)).values(values).returning(*endpoints.c).cte("changed")
    )
    found = sa.select(changed)
    if enable is False:
        given_up = deliveries.give_up(sa.select(changed.c.id).scalar_subquery(), "endpoint_disabled")
        found = found.add_cte(given_up.cte("given_up"))
    return Statement(found, EndpointRow)


def rotate(project_id: str, endpoint_id: str, secret: str, *, keep: bool) -> Statement[EndpointRow]:
    """Sign by a new secret; by the old one too for ROTATION if it is to be kept."""
    return Statement(
        (
            sa.update(endpoints)
            .where(_is(project_id, endpoint_id))
            .values(
                secret=secret,
                previous_secret=endpoints.c.secret if keep else None,
                previous_secret_until=NOW + ROTATION if keep else None,
                updated_at=NOW,
            )
            .returning(*endpoints.c)
        ),
        EndpointRow,
    )


def delete(project_id: str, endpoint_id: str) -> Statement[str]:
    """Forget an endpoint; what waits for it is given up. No row back: there is no such endpoint."""
    gone = sa.delete(endpoints).where(_is(project_id, endpoint_id)).returning(endpoints.c.id).cte("gone")
    given_up = deliveries.give_up(sa.select(gone.c.id).scalar_subquery(), "endpoint_deleted")
    return Statement(sa.select(gone.c.id).add_cte(given_up.cte("given_up")), str)


def _is(project_id: str, endpoint_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(endpoints.c.id == endpoint_id, endpoints.c.project_id == project_id)
