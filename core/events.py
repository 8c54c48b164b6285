"""The facts about jobs: each is written in the statement that makes the move, with the deliveries that it causes."""

from typing import Any

import sqlalchemy as sa

from core.outbox.deliveries import caused_by
from core.tables import job_events


def with_event(
    moved: sa.CTE, event_type: sa.ColumnElement[str] | None = None, *, reason: str | None = None, told: bool = True
) -> sa.Select[Any]:
    """Write the event of a move in the statement that makes it, and return the moved rows.

    told: whether webhooks may want to know of it, so that there may be deliveries to write too.
    """
    data = sa.func.jsonb_strip_nulls(
        sa.func.jsonb_build_object(
            "status", moved.c.status, "attempt", moved.c.attempts, "reason", sa.cast(reason, sa.Text),
            "error_code", moved.c.error_code,
        )
    )  # fmt: skip
    event = (
        sa.insert(job_events)
        .from_select(
            ["job_id", "type", "data"],
            sa.select(moved.c.id, sa.literal("job.") + moved.c.status if event_type is None else event_type, data),
        )
        .returning(job_events.c.id, job_events.c.job_id, job_events.c.type, job_events.c.created_at)
        .cte("event")
    )
    return sa.select(moved).add_cte(event, *([caused_by(moved, event)] if told else []))
