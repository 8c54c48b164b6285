"""The audit log: keys, webhook endpoints, deletions, calls of operators, and refused keys.

`with_audit_event` adds an event to the statement that makes the change, so that neither exists without the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

import sqlalchemy as sa

from core.clock import STATEMENT_TIME
from core.db import Statement
from core.tables import audit_events

RowT = TypeVar("RowT")


class AuditType(StrEnum):
    """What happened."""

    KEY_CREATED = "api_key.created"
    KEY_DELETED = "api_key.deleted"
    ENDPOINT_CREATED = "webhook_endpoint.created"
    ENDPOINT_DELETED = "webhook_endpoint.deleted"
    SECRET_ROTATED = "webhook_endpoint.secret_rotated"  # noqa: S105 - no secret, its event
    FILE_DELETED = "file.deleted"
    JOB_DELETED = "job.deleted"
    BATCH_DELETED = "batch.deleted"
    MODEL_DELETED = "fine_tuned_model.deleted"
    USER_ERASED = "user.erased"
    ADMIN_CALL = "admin.called"
    JOBS_CANCELLED = "jobs.cancelled"
    JOBS_RETRIED = "jobs.retried"
    PAUSE_BEGUN = "pause.begun"
    PAUSE_ENDED = "pause.ended"
    KEY_REFUSED = "api_key.refused"


@dataclass(frozen=True, slots=True)
class NewAuditEvent:
    """An event of the audit log. api_key_id: the key of the actor; None: no key."""

    type: AuditType
    actor: str = "command"
    api_key_id: str | None = None
    project_id: str | None = None
    subject_id: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class AuditRow:
    """An event of the audit log."""

    id: str
    type: str
    actor: str
    api_key_id: str | None
    project_id: str | None
    subject_id: str | None
    data: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events a list has; an empty sequence selects all."""

    types: Sequence[str] = ()
    project_ids: Sequence[str] = ()
    api_key_ids: Sequence[str] = ()
    subject_ids: Sequence[str] = ()
    since: datetime | None = None
    until: datetime | None = None


def record(*events: NewAuditEvent) -> sa.Executable:
    """Insert events."""
    return sa.insert(audit_events).values(
        [{name: getattr(event, name) for name in NewAuditEvent.__slots__} for event in events]
    )


def with_audit_event(statement: Statement[RowT], event: NewAuditEvent) -> Statement[RowT]:
    """A statement that also inserts an event for each row that it changes and returns.

    The rows have an id, which is the subject of an event that names no other.
    """
    sql: Any = statement.sql
    changed_rows = sql.cte("changed_rows")
    values = {
        name: sa.literal(getattr(event, name), audit_events.c[name].type)
        for name in NewAuditEvent.__slots__
        if name != "subject_id"
    }
    subject_id = changed_rows.c.id if event.subject_id is None else sa.literal(event.subject_id)
    insert = (
        sa.insert(audit_events)
        .from_select([*values, "subject_id"], sa.select(*values.values(), subject_id).select_from(changed_rows))
        .cte("audit")
    )
    return Statement(sa.select(*changed_rows.c).add_cte(insert), statement.row)


def list_events(
    selection: AuditFilter, *, limit: int, after: str | None = None, before: str | None = None
) -> Statement[AuditRow]:
    """Events, newest first. after, before: the id of the last or first event of another page."""
    table = audit_events.c
    pairs = (
        (table.type, selection.types),
        (table.project_id, selection.project_ids),
        (table.api_key_id, selection.api_key_ids),
        (table.subject_id, selection.subject_ids),
    )
    statement = sa.select(audit_events).where(*(column.in_(values) for column, values in pairs if values))
    if selection.since is not None:
        statement = statement.where(table.created_at >= selection.since)
    if selection.until is not None:
        statement = statement.where(table.created_at <= selection.until)
    if after is not None:
        statement = statement.where(table.id < after)
    if before is not None:
        page = statement.where(table.id > before).order_by(table.id).limit(limit).subquery()
        return Statement(sa.select(page).order_by(page.c.id.desc()), AuditRow)
    return Statement(statement.order_by(table.id.desc()).limit(limit), AuditRow)


def purge(age: timedelta, limit: int) -> Statement[str]:
    """Delete events past retention, `limit` at most."""
    pick = (
        sa.select(audit_events.c.id)
        .where(audit_events.c.created_at <= STATEMENT_TIME - sa.literal(age, sa.Interval))
        .order_by(audit_events.c.created_at)
        .limit(limit)
        .cte("pick")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return Statement(sa.delete(audit_events).where(audit_events.c.id == pick.c.id).returning(audit_events.c.id), str)
