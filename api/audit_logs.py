"""`/v1/organization/audit_logs`: the audit log in OpenAI's format, for operators."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.authentication import requires
from api.deps import AppContext
from api.responses import answer
from core import audit
from core.audit import AuditFilter, AuditRow, AuditType
from core.requests.fields import UnixSeconds
from core.responses.job import is_none
from core.scopes import Scope

router = APIRouter(prefix="/v1/organization/audit_logs", tags=["audit logs"])

Cursor = Annotated[str | None, Query(pattern="^audit_log-[0-9a-f]{32}$")]


class ApiKeyActor(BaseModel):
    """The key of an actor."""

    id: str


class Actor(BaseModel):
    """Who acted: an API key, or the command line of the server. `none`: somebody without a valid key."""

    type: Literal["api_key", "command", "none"]
    api_key: ApiKeyActor | None = Field(None, exclude_if=is_none)


class ProjectOfEvent(BaseModel):
    """The project that an event belongs to."""

    id: str


class AuditLog(BaseModel):
    """An event of the audit log. Its details are in a field that is named like its type."""

    model_config = ConfigDict(extra="allow")

    object: Literal["organization.audit_log"] = "organization.audit_log"
    id: str
    type: AuditType
    effective_at: int
    actor: Actor
    project: ProjectOfEvent | None = Field(None, exclude_if=is_none)


class AuditLogList(BaseModel):
    """A page of the audit log, newest first. Get the next page with `after=<last_id>`."""

    object: Literal["list"] = "list"
    data: list[AuditLog]
    first_id: str | None
    last_id: str | None
    has_more: bool


@router.get("", summary="List the audit log", response_model=AuditLogList)
@requires(Scope.ADMIN)
async def index(
    context: AppContext,
    event_types: Annotated[list[AuditType] | None, Query(alias="event_types[]", max_length=100)] = None,
    project_ids: Annotated[list[str] | None, Query(alias="project_ids[]", max_length=100)] = None,
    actor_ids: Annotated[list[str] | None, Query(alias="actor_ids[]", max_length=100)] = None,
    resource_ids: Annotated[list[str] | None, Query(alias="resource_ids[]", max_length=100)] = None,
    since: Annotated[UnixSeconds | None, Query(alias="effective_at[gte]")] = None,
    until: Annotated[UnixSeconds | None, Query(alias="effective_at[lte]")] = None,
    after: Cursor = None,
    before: Cursor = None,
    limit: Annotated[int, Ge(1), Le(100), Query()] = 20,
) -> Response:
    """List what happened in all projects, newest first."""
    selection = AuditFilter(
        types=event_types or (),
        project_ids=project_ids or (),
        api_key_ids=actor_ids or (),
        subject_ids=resource_ids or (),
        since=_datetime(since),
        until=_datetime(until),
    )
    rows = await context.database.execute(audit.list_events(selection, limit=limit + 1, after=after, before=before))
    has_more = len(rows) > limit
    page = [audit_log(row) for row in (rows[-limit:] if before is not None else rows[:limit])]
    return answer(
        AuditLogList(
            data=page,
            first_id=page[0].id if page else None,
            last_id=page[-1].id if page else None,
            has_more=has_more,
        )
    )


def audit_log(row: AuditRow) -> AuditLog:
    """The JSON of an event."""
    details: dict[str, Any] = {row.type: {"id": row.subject_id, "data": row.data}}
    return AuditLog(
        id=row.id,
        type=AuditType(row.type),
        effective_at=int(row.created_at.timestamp()),
        actor=Actor(
            type=row.actor,
            api_key=None if row.api_key_id is None else ApiKeyActor(id=row.api_key_id),
        ),
        project=None if row.project_id is None else ProjectOfEvent(id=row.project_id),
        **details,
    )


def _datetime(unix_seconds: int | None) -> datetime | None:
    return None if unix_seconds is None else datetime.fromtimestamp(unix_seconds, UTC)
