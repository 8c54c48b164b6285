"""Redelivery: new deliveries of events that an endpoint missed, at the request of its owner."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from core.db import Statement
from core.rows.webhook import DeliveryRow
from core.status import DeliveryStatus
from core.tables import batch_events, batches, job_events, jobs
from core.tables import webhook_deliveries as deliveries
from core.tables import webhook_endpoints as endpoints


def redeliver(project_id: str, delivery_id: str) -> Statement[DeliveryRow]:
    """Insert a new delivery of the same event, unless the endpoint is deleted or disabled."""
    columns = ["project_id", "job_id", "batch_id", "endpoint_id", "destination", "event_id", "event_type", "event_at"]
    enabled = sa.select(endpoints.c.id).where(endpoints.c.disabled_at.is_(None))
    old = sa.select(*(deliveries.c[name] for name in columns)).where(
        deliveries.c.id == delivery_id,
        deliveries.c.project_id == project_id,
        sa.or_(deliveries.c.endpoint_id.is_(None), deliveries.c.endpoint_id.in_(enabled)),
    )
    return Statement(sa.insert(deliveries).from_select(columns, old).returning(*deliveries.c), DeliveryRow)


def redeliver_since(project_id: str, endpoint_id: str, since: datetime) -> Statement[str]:
    """Insert a delivery for each subscribed event since a time that has none, or only failed ones."""
    columns = ["project_id", "job_id", "batch_id", "endpoint_id", "destination", "event_id", "event_type", "event_at"]
    events = sa.union_all(
        _undelivered_events(project_id, endpoint_id, since, job_events.c.job_id, jobs, job_events),
        _undelivered_events(project_id, endpoint_id, since, batch_events.c.batch_id, batches, batch_events),
    ).subquery("events")
    ordered_events = sa.select(*(events.c[name] for name in columns)).order_by(events.c.event_id)
    return Statement(sa.insert(deliveries).from_select(columns, ordered_events).returning(deliveries.c.id), str)


def _undelivered_events(
    project_id: str,
    endpoint_id: str,
    since: datetime,
    subject_id: sa.ColumnElement[str],
    subjects: sa.Table,
    events: sa.Table,
) -> sa.Select[Any]:
    """The events of jobs or batches that an endpoint subscribes to and that have no pending or successful delivery."""
    has_delivery = (
        sa.select(sa.literal(1))
        .where(
            deliveries.c.endpoint_id == endpoint_id,
            deliveries.c.event_id == events.c.id,
            deliveries.c.status != DeliveryStatus.FAILED,
        )
        .exists()
    )
    is_of_jobs = subjects is jobs
    return (
        sa.select(
            subjects.c.project_id,
            (subjects.c.id if is_of_jobs else sa.null()).label("job_id"),
            (sa.null() if is_of_jobs else subjects.c.id).label("batch_id"),
            endpoints.c.id.label("endpoint_id"),
            endpoints.c.id.label("destination"),
            events.c.id.label("event_id"),
            events.c.type.label("event_type"),
            events.c.created_at.label("event_at"),
        )
        .select_from(
            events.join(subjects, subjects.c.id == subject_id).join(
                endpoints, endpoints.c.project_id == subjects.c.project_id
            )
        )
        .where(
            endpoints.c.id == endpoint_id,
            endpoints.c.project_id == project_id,
            endpoints.c.disabled_at.is_(None),
            events.c.id >= f"evt_{int(since.timestamp() * 1000):012x}",
            endpoints.c.event_types.has_key(events.c.type),
            ~has_delivery,
        )
    )
