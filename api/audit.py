"""Events of the audit log that a request causes."""

from typing import Any

from api.callers import Caller
from core.audit import AuditType, NewAuditEvent


def event_of(caller: Caller, kind: AuditType, subject_id: str | None = None, **data: Any) -> NewAuditEvent:
    """An event that a caller causes in its project."""
    actor = "none" if caller.key_id is None else "api_key"
    return NewAuditEvent(kind, actor, caller.key_id, caller.project_id, subject_id, data)
