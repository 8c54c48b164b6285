"""`/v1/webhook_endpoints`, compatible with the OpenAI SDK.

`worker.webhooks.deliver` sends events; only test events are sent from here, as the client waits for the result.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import Response
from pydantic import BaseModel

from api.audit import event_of
from api.authentication import CurrentCaller, Project, requires
from api.context import Context
from api.deps import AppContext, Body
from api.pagination import AfterEndpoint, check_after
from api.responses import ERROR, answer
from api.webhooks.schemas import (
    EndpointChanges,
    EndpointDeleted,
    EndpointList,
    EndpointObject,
    EndpointRequest,
    EndpointWithSecret,
    EventTypeList,
    Redelivered,
    RedeliverRequest,
    RotateRequest,
    TestRequest,
    TestResult,
)
from core import audit
from core.audit import AuditType
from core.connections import DeliveryError
from core.db import AsyncTransaction, RowT, Statement
from core.egress import Egress, EgressRules, check_destination
from core.errors import InvalidParameter, InvalidRequest, NotFound
from core.event_types import event_names
from core.ids import new_id
from core.limit_errors import TooManyWebhookTests
from core.outbox import deliveries, redelivery, signing
from core.requests.job import parse
from core.responses.job import seconds
from core.rows.webhook import EndpointRow
from core.scopes import Scope
from core.text import quote
from core.threads import TooManyCalls
from core.webhooks import endpoints as webhooks
from core.webhooks.events import Event, sample

router = APIRouter(prefix="/v1", tags=["webhooks"])

NO_ENDPOINT: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "Your project has no such endpoint."}}


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}


Limit = Annotated[int, Ge(1), Le(100), Query()]


@router.post(
    "/webhook_endpoints",
    summary="Create a webhook endpoint",
    response_model=EndpointWithSecret,
    openapi_extra=_body(EndpointRequest),
)
@requires(Scope.WEBHOOKS)
async def create(body: Body, context: AppContext, caller: CurrentCaller) -> Response:
    """Create an endpoint that receives events. Only this response contains the secret that signs them."""
    project_id = caller.project_id
    request = parse(EndpointRequest, body)
    check_destination(request.url, context.settings, "url")
    secret = signing.new_secret()
    maximum = context.settings.max_webhook_endpoints
    create_endpoint = webhooks.create(
        project_id, request.name, request.url, request.event_types, secret, max_endpoints=maximum
    )
    async with context.database.transaction() as transaction:
        await transaction.execute(webhooks.lock_project(project_id))
        await _check_host(context, transaction, project_id, request.url, request.event_types)
        rows = await transaction.execute(
            audit.with_audit_event(create_endpoint, event_of(caller, AuditType.ENDPOINT_CREATED, url=request.url))
        )
    if not rows:
        raise InvalidRequest(
            f"Your project has {maximum} webhook endpoints, which is the maximum: delete one, or ask the operator to "
            "raise SAFELIGHT_MAX_WEBHOOK_ENDPOINTS."
        )
    return answer(_with_secret(rows[0]))


@router.get("/webhook_endpoints", summary="List webhook endpoints", response_model=EndpointList)
@requires(Scope.WEBHOOKS)
async def index(context: AppContext, project_id: Project, after: AfterEndpoint = None, limit: Limit = 20) -> Response:
    """List webhook endpoints, newest first."""
    await check_after(context, project_id, "webhook endpoint", after)
    rows = await context.database.execute(webhooks.list_endpoints(project_id, limit=limit + 1, after=after))
    return answer(EndpointList(data=[_endpoint(row) for row in rows[:limit]], **edges_of(rows, limit)))


@router.get("/webhook_event_types", summary="List event types", response_model=EventTypeList)
@requires(Scope.WEBHOOKS)
async def event_types(_project_id: Project) -> Response:
    """List the event types that an endpoint can receive."""
    return answer(EventTypeList(data=event_names(for_webhooks=True)))


@router.get(
    "/webhook_endpoints/{endpoint_id}",
    summary="Get a webhook endpoint",
    response_model=EndpointObject,
    responses=NO_ENDPOINT,
)
@requires(Scope.WEBHOOKS)
async def fetch(endpoint_id: str, context: AppContext, project_id: Project) -> Response:
    """Get a webhook endpoint, with its failures and why it is disabled."""
    return answer(_endpoint(await get_row(context, webhooks.get_endpoint(project_id, endpoint_id), endpoint_id)))


@router.post(
    "/webhook_endpoints/{endpoint_id}",
    summary="Update a webhook endpoint",
    response_model=EndpointObject,
    responses=NO_ENDPOINT,
    openapi_extra=_body(EndpointChanges),
)
@requires(Scope.WEBHOOKS)
async def update(endpoint_id: str, body: Body, context: AppContext, project_id: Project) -> Response:
    """Update the fields in the body. Pending deliveries go to the new URL."""
    request = parse(EndpointChanges, body)
    if request.url is not None:
        check_destination(request.url, context.settings, "url")
    if request.enabled:
        await get_row(context, webhooks.get_endpoint(project_id, endpoint_id), endpoint_id)
        while await context.database.execute(deliveries.give_up_waiting(endpoint_id, deliveries.GIVE_UP_LIMIT)):
            pass  # a chunk a statement: what waited when it was disabled stays given up
    changes = request.model_dump(exclude_none=True, exclude={"enabled"})
    update_endpoint = webhooks.update(project_id, endpoint_id, changes, enable=request.enabled)
    async with context.database.transaction() as transaction:
        await transaction.execute(webhooks.lock_project(project_id))
        before = await transaction.execute(webhooks.get_endpoint(project_id, endpoint_id))
        if before and request.url not in (None, before[0].url):
            event_types = request.event_types or before[0].event_types
            await _check_host(context, transaction, project_id, request.url or "", event_types, besides=endpoint_id)
        rows = await transaction.execute(update_endpoint)
    if not rows:
        raise NotFound(f"There is no {endpoint_id!r} here.", param="id")
    return answer(_endpoint(rows[0]))


@router.delete(
    "/webhook_endpoints/{endpoint_id}",
    summary="Delete a webhook endpoint",
    response_model=EndpointDeleted,
    responses=NO_ENDPOINT,
)
@requires(Scope.WEBHOOKS)
async def delete(endpoint_id: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Delete a webhook endpoint. Its pending deliveries fail."""
    project_id = caller.project_id
    event = event_of(caller, AuditType.ENDPOINT_DELETED)
    await get_row(context, audit.with_audit_event(webhooks.delete(project_id, endpoint_id), event), endpoint_id)
    return answer(EndpointDeleted(id=endpoint_id))


@router.post(
    "/webhook_endpoints/{endpoint_id}/rotate_secret",
    summary="Rotate a webhook secret",
    response_model=EndpointWithSecret,
    responses=NO_ENDPOINT,
    openapi_extra=_body(RotateRequest),
)
@requires(Scope.WEBHOOKS)
async def rotate_secret(endpoint_id: str, body: Body, context: AppContext, caller: CurrentCaller) -> Response:
    """Create a new signing secret. Only this response contains it."""
    project_id = caller.project_id
    request = parse(RotateRequest, body or b"{}")
    rotate = webhooks.rotate(
        project_id, endpoint_id, signing.new_secret(), keep_previous=request.keep_old_secret_active_for_24_hours
    )
    rotate = audit.with_audit_event(rotate, event_of(caller, AuditType.SECRET_ROTATED))
    return answer(_with_secret(await get_row(context, rotate, endpoint_id)))


@router.post(
    "/webhook_endpoints/{endpoint_id}/test",
    summary="Test a webhook endpoint",
    response_model=TestResult,
    responses=NO_ENDPOINT
    | {
        400: ERROR | {"description": "The endpoint's URL could not be reached."},
        429: ERROR | {"description": "Two tests of your project are in progress."},
    },
    openapi_extra=_body(TestRequest),
)
@requires(Scope.WEBHOOKS)
async def test(endpoint_id: str, body: Body, context: AppContext, project_id: Project) -> Response:
    """Send a signed sample event and return the status code of the response. It is not retried."""
    request = parse(TestRequest, body)
    row = await get_row(context, webhooks.get_endpoint(project_id, endpoint_id), endpoint_id)
    sent_at = datetime.now(UTC)
    # As in a real event, whose links do not depend on a request.
    event = sample(new_id("evt"), request.event_type, sent_at, context.settings.base_url)
    content = event.model_dump_json().encode()
    keys = signing.live_secrets(row.secret, row.previous_secret, row.previous_secret_until, sent_at)
    headers = {"Content-Type": "application/json", **signing.signed(keys, event.id, int(sent_at.timestamp()), content)}
    timeout = context.settings.webhook_timeout.total_seconds()
    try:
        response = await context.threads.webhook_tests.run(
            project_id, _egress(EgressRules.from_settings(context.settings)).post, row.url, content, headers, timeout
        )
    except TooManyCalls:
        raise TooManyWebhookTests from None
    except DeliveryError as error:
        raise InvalidRequest(f"{row.url} could not be reached: {error.message}", param="url") from None
    return answer(TestResult(webhook_endpoint_id=row.id, event_type=request.event_type, status_code=response.status))


@router.post(
    "/webhook_endpoints/{endpoint_id}/redeliver",
    summary="Redeliver the failed events of an endpoint",
    response_model=Redelivered,
    responses=NO_ENDPOINT,
    openapi_extra=_body(RedeliverRequest),
)
@requires(Scope.WEBHOOKS)
async def redeliver_since(endpoint_id: str, body: Body, context: AppContext, project_id: Project) -> Response:
    """Redeliver all events since a time that were not delivered, also those from while the endpoint was disabled."""
    since = datetime.fromtimestamp(parse(RedeliverRequest, body).since, UTC)
    row = await get_row(context, webhooks.get_endpoint(project_id, endpoint_id), endpoint_id)
    if row.disabled_at is not None:
        raise InvalidRequest(f"{endpoint_id} is disabled: {row.disabled_reason} Enable it first.", param="enabled")
    rows = await context.database.execute(redelivery.redeliver_since(project_id, endpoint_id, since))
    return answer(Redelivered(webhook_endpoint_id=endpoint_id, events=len(rows)))


def describe(app: FastAPI) -> None:
    """Add the events to the OpenAPI document."""
    for kind in event_names(for_webhooks=True):

        @app.webhooks.post(kind, name=kind, tags=["webhooks"], summary=kind, status_code=204)
        def receive(event: Event) -> None:
            """Sent with `webhook-id`, `webhook-timestamp` and `webhook-signature`. Any 2xx response is a success."""


@cache
def _egress(rules: EgressRules) -> Egress:
    return Egress(rules)


async def get_row(context: Context, statement: Statement[RowT], row_id: str) -> RowT:
    """The one row of a statement. Raises NotFound."""
    rows = await context.database.execute(statement)
    if not rows:
        raise NotFound(f"There is no {quote(row_id)} here.", param="id")
    return rows[0]


async def _check_host(
    context: Context,
    transaction: AsyncTransaction,
    project_id: str,
    url: str,
    event_types: Sequence[str],
    besides: str = "",
) -> None:
    """Bound how many posts one event becomes for a host. Raises InvalidParameter."""
    maximum = context.settings.max_webhook_endpoints_per_host
    rows = await transaction.execute(webhooks.list_same_host(project_id, url, besides=besides))
    for row in rows:
        if row.url == url and (shared := sorted(set(row.event_types) & set(event_types))):
            raise InvalidParameter(f"{row.id} has this url already, and receives {', '.join(shared)}.", param="url")
    if len(rows) >= maximum:
        raise InvalidParameter(
            f"Your project has {len(rows)} webhook endpoints on the host of this url; {maximum} is the maximum. "
            "Delete one, or ask the operator to raise SAFELIGHT_MAX_WEBHOOK_ENDPOINTS_PER_HOST.",
            param="url",
        )


def _endpoint(row: EndpointRow) -> EndpointObject:
    return EndpointObject(**_fields(row))


def _with_secret(row: EndpointRow) -> EndpointWithSecret:
    return EndpointWithSecret(**_fields(row), signing_secret=row.secret)


def _fields(row: EndpointRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "url": row.url,
        "event_types": row.event_types,
        "signing_secret_hint": signing.hint(row.secret),
        "enabled": row.disabled_at is None,
        "disabled_reason": row.disabled_reason,
        "failing_since": seconds(row.failing_since),
        "created_at": seconds(row.created_at),
        "updated_at": seconds(row.updated_at),
    }


def edges_of(rows: Any, limit: int) -> dict[str, Any]:
    """The fields of a page that say where it begins and ends. rows: up to one more than `limit`."""
    page = rows[:limit]
    return {
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": len(rows) > limit,
    }
