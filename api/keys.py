"""`/v1/organization/projects/{project_id}/api_keys`: the API keys of the caller's project, in OpenAI's format.

A caller gives a new key only scopes that its own key has, so a key that may do little cannot make one that may do more.
Keys of other projects, and the first one, are made with `safelight keys` on the server.
"""

from datetime import timedelta
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from api.audit import event_of
from api.authentication import CurrentCaller, requires
from api.callers import Caller
from api.deps import AppContext, Body
from api.pagination import AfterKey, check_after
from api.responses import ERROR, answer
from core import audit, keys
from core.audit import AuditType
from core.errors import InsufficientScope, InvalidRequest, NotFound
from core.requests.job import parse
from core.responses.job import seconds
from core.rows.key import KeyRow
from core.scopes import DEFAULT_SCOPES, Scope
from core.text import Text, quote

router = APIRouter(prefix="/v1/organization/projects/{project_id}/api_keys", tags=["api keys"])

MAX_KEYS = 1000
"""Valid keys of a project that the API creates."""

MAX_SECONDS = 10 * 366 * 86_400
NOT_OWN: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "It is not your project, or has no such key."}}


ScopeName = Annotated[Scope, Field(strict=False), WithJsonSchema({"type": "string", "enum": [*Scope]})]


class KeyRequest(BaseModel):
    """An API key to create."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[Text, MinLen(1), MaxLen(200)] = Field(description="A name for display, such as the key's purpose.")
    scopes: Annotated[list[ScopeName], MinLen(1), MaxLen(len(Scope))] = Field(
        list(DEFAULT_SCOPES), description="What the key may be used for. Your own key must have these scopes."
    )
    expires_in_seconds: Annotated[int, Ge(60), Le(MAX_SECONDS)] | None = Field(
        None, description="Time until the key expires. Default: never."
    )


class KeyObject(BaseModel):
    """An API key without its secret part, in OpenAI's format."""

    object: Literal["organization.project.api_key"] = "organization.project.api_key"
    id: str
    name: str
    redacted_value: str
    scopes: list[str]
    is_valid: bool = Field(description="Whether the key is neither revoked nor expired.")
    created_at: int
    last_used_at: int | None
    expires_at: int | None = Field(description="When the key expires or expired; null: never.")
    revoked_at: int | None


class KeyWithValue(KeyObject):
    """A key with its value, which is returned only once."""

    value: str


class KeyList(BaseModel):
    """A page of keys. Get the next page with `after=<last_id>`."""

    object: Literal["list"] = "list"
    data: list[KeyObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class KeyDeleted(BaseModel):
    """A key was revoked."""

    object: Literal["organization.project.api_key.deleted"] = "organization.project.api_key.deleted"
    id: str
    deleted: Literal[True] = True


BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": KeyRequest.model_json_schema()}}}}
Limit = Annotated[int, Ge(1), Le(100), Query()]


@router.get("", summary="List API keys", response_model=KeyList, responses=NOT_OWN)
@requires(Scope.ADMIN)
async def index(
    project_id: str, context: AppContext, caller: CurrentCaller, after: AfterKey = None, limit: Limit = 20
) -> Response:
    """List the keys of your project, newest first, with those that are revoked or expired."""
    _check_project(caller, project_id)
    await check_after(context, project_id, "API key", after)
    rows = await context.database.execute(keys.list_of_project(project_id, limit=limit + 1, after=after))
    page = [_key(row) for row in rows[:limit]]
    edges = {"first_id": page[0].id if page else None, "last_id": page[-1].id if page else None}
    return answer(KeyList(data=page, has_more=len(rows) > limit, **edges))


@router.post("", summary="Create an API key", response_model=KeyWithValue, responses=NOT_OWN, openapi_extra=BODY)
@requires(Scope.ADMIN)
async def create(project_id: str, body: Body, context: AppContext, caller: CurrentCaller) -> Response:
    """Create a key for your project. Only this response contains the key itself."""
    _check_project(caller, project_id)
    request = parse(KeyRequest, body)
    scopes = list(dict.fromkeys(request.scopes))
    if excess := [scope for scope in scopes if scope not in caller.scopes]:
        key_scopes = ", ".join(sorted(caller.scopes))
        raise InsufficientScope(
            f"scopes: your key cannot give {', '.join(excess)}, as it has {key_scopes} only.", param="scopes"
        )
    if len(await context.database.execute(keys.list_valid_ids(project_id, limit=MAX_KEYS))) >= MAX_KEYS:
        raise InvalidRequest(f"Your project has {MAX_KEYS} valid API keys, which is the maximum: revoke some.")
    key = keys.new_key()
    lifetime = None if request.expires_in_seconds is None else timedelta(seconds=request.expires_in_seconds)
    details: dict[str, Any] = {"name": request.name, "scopes": scopes, "prefix": key[: keys.PREFIX_LENGTH]}
    (key_id,) = await context.database.execute(
        audit.with_audit_event(
            keys.add(key, project_id, request.name, scopes, lifetime),
            event_of(caller, AuditType.KEY_CREATED, **details),
        )
    )
    (row,) = await context.database.execute(keys.get(project_id, key_id))
    return answer(KeyWithValue(**_key(row).model_dump(), value=key), headers={"cache-control": "no-store"})


@router.get("/{key_id}", summary="Get an API key", response_model=KeyObject, responses=NOT_OWN)
@requires(Scope.ADMIN)
async def fetch(project_id: str, key_id: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Get a key of your project, without its value."""
    _check_project(caller, project_id)
    rows = await context.database.execute(keys.get(project_id, key_id))
    if not rows:
        raise NotFound(f"Your project has no API key {quote(key_id)}.")
    return answer(_key(rows[0]))


@router.delete("/{key_id}", summary="Revoke an API key", response_model=KeyDeleted, responses=NOT_OWN)
@requires(Scope.ADMIN)
async def revoke(project_id: str, key_id: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Revoke a key of your project. It is refused within a second, and its open streams end."""
    _check_project(caller, project_id)
    event = event_of(caller, AuditType.KEY_DELETED)
    if not await context.database.execute(audit.with_audit_event(keys.revoke(key_id, project_id), event)):
        raise NotFound(f"Your project has no API key {quote(key_id)}, or it was revoked before.")
    return answer(KeyDeleted(id=key_id))


def _check_project(caller: Caller, project_id: str) -> None:
    """Raise NotFound for another project than the caller's."""
    if project_id != caller.project_id:
        raise NotFound(f"Your key belongs to the project {caller.project_id}, not to {quote(project_id)}.")


def _key(row: KeyRow) -> KeyObject:
    return KeyObject(
        id=row.id,
        name=row.name,
        redacted_value=f"{row.prefix}...",
        scopes=list(row.scopes),
        is_valid=row.is_valid,
        created_at=int(row.created_at.timestamp()),
        last_used_at=seconds(row.last_used_at),
        expires_at=seconds(row.expires_at),
        revoked_at=seconds(row.revoked_at),
    )
