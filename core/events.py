"""Events of jobs and batches. An event is written in the statement that updates its job or batch.

Two statements could be separated by a crash: the status would change without an event, or an event would be written
for a change that was rolled back.
"""

from typing import Any

import sqlalchemy as sa

from core.event_types import EVENT_TYPES, Subject
from core.outbox.deliveries import insert_deliveries
from core.reports import usage
from core.tables import batch_events, job_events

_TABLES = {"job": job_events, "batch": batch_events}


def with_event(
    updated: sa.CTE,
    event_type: str | sa.ColumnElement[str] | None = None,
    *,
    subject: Subject = "job",
    **details: str | sa.ColumnElement[str] | None,
) -> sa.Select[Any]:
    """Extend an INSERT or UPDATE by its events and their deliveries, and return the rows that it wrote.

    updated: the INSERT or UPDATE; it returns the columns that the event, its deliveries (`core.outbox.deliveries`) and
    the usage (`core.reports.usage`) read. event_type: a name or an expression over `updated`;
    by default the name that ends in the new status. details: further fields of the event's `data`; null is left out.
    """
    if event_type is None:
        event_type = sa.literal(f"{subject}.") + updated.c.status
    for_webhooks = not isinstance(event_type, str) or EVENT_TYPES[event_type].for_webhooks
    table = _TABLES[subject]
    subject_id = table.c[f"{subject}_id"]
    name = sa.literal(event_type) if isinstance(event_type, str) else event_type
    event = (
        sa.insert(table)
        .from_select([subject_id.name, "type", "data"], sa.select(updated.c.id, name, _data(updated, subject, details)))
        .returning(table.c.id, subject_id, table.c.type, table.c.created_at)
        .cte("event")
    )
    deliveries = [insert_deliveries(updated, event, subject)] if for_webhooks else []
    return sa.select(updated).add_cte(event, *deliveries)


def with_final_event(
    updated_jobs: sa.CTE, event_type: str | sa.ColumnElement[str] | None = None, **details: Any
) -> sa.Select[Any]:
    """`with_event` for jobs that may have ended without images: what they used is recorded, too."""
    return with_event(updated_jobs, event_type, **details).add_cte(usage.without_images(updated_jobs))


def _data(updated: sa.CTE, subject: Subject, details: dict[str, Any]) -> sa.ColumnElement[Any]:
    data: dict[str, Any] = {"status": updated.c.status}
    if subject == "job":
        data |= {"attempt": updated.c.attempts, "error_code": updated.c.error_code}
    data |= {name: sa.cast(value, sa.Text) for name, value in details.items()}
    return sa.func.jsonb_strip_nulls(sa.func.jsonb_build_object(*(part for pair in data.items() for part in pair)))
