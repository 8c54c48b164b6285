"""`/v1/webhook_endpoints`, in the OpenAI SDK's shape, and `/v1/webhook_deliveries`: who is told of events, and whether.

Sending is `worker.webhooks.deliver`; only a test is sent from here, as its caller waits for what comes of it.
"""

import asyncio
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter, FastAPI, Query
from fastapi.responses import Response
from pydantic import BaseModel

from api.context import Context
from api.deps import AppContext, Body, Project
from api.responses import ERROR, answer
from api.webhooks.schemas import (
    AttemptObject,
    DeliveryList,
    DeliveryObject,
    DeliveryWithAttempts,
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
from core.db import RowT, Statement
from core.egress import Allowed, Egress, Unreached, check_receiver
from core.errors import InvalidParameter, InvalidRequest, NotFound
from core.event_types import event_names
from core.ids import new_id
from core.outbox import deliveries, signing
from core.requests.job import parse
from core.responses.job import seconds
from core.rows import AttemptRow, DeliveryRow, EndpointRow
from core.webhooks import endpoints as webhooks
from core.webhooks.events import Event, sample

router = APIRouter(prefix="/v1", tags=["webhooks"])

NO_ENDPOINT: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "No such endpoint in your project."}}
NO_DELIVERY: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "No such delivery in your project."}}


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": kind.model_json_schema()}}}}


Limit = Annotated[int, Ge(1), Le(100), Query()]
After = Annotated[str | None, Query(description="`last_id` of the page before.")]


@router.post(
    "/webhook_endpoints",
    summary="Create a webhook endpoint",
    response_model=EndpointWithSecret,
    openapi_extra=_body(EndpointRequest),
)
async def create(body: Body, context: AppContext, project_id: Project) -> Response:
    """Tell a receiver of events. The answer has the secret that signs them, once. A project may have only so many."""
    wanted = parse(EndpointRequest, body)
    check_receiver(wanted.url, context.settings, "url")
    secret = signing.new_secret()
    most = context.settings.max_webhook_endpoints
    made = webhooks.create(project_id, wanted.name, wanted.url, wanted.event_types, secret, max_endpoints=most)
    async with context.database.transaction() as transaction:
        await transaction.execute(webhooks.lock_project(project_id))
        rows = await transaction.execute(made)
    if not rows:
        raise InvalidRequest(
            f"Your project has {most} webhook endpoints, and may have no more: delete one, or have the operator raise "
            "SAFELIGHT_MAX_WEBHOOK_ENDPOINTS."
        )
    return answer(_with_secret(rows[0]))


@router.get("/webhook_endpoints", summary="List webhook endpoints", response_model=EndpointList)
async def index(context: AppContext, project_id: Project, after: After = None, limit: Limit = 20) -> Response:
    """List endpoints, newest first."""
    rows = await context.database.execute(webhooks.list_endpoints(project_id, limit=limit + 1, after=after))
    shown = [_endpoint(row) for row in rows[:limit]]
    return answer(EndpointList(data=shown, **_edges(rows, limit)))


@router.get("/webhook_event_types", summary="List event types", response_model=EventTypeList)
async def event_types(_project_id: Project) -> Response:
    """List the events that a receiver can be told of."""
    return answer(EventTypeList(data=event_names(for_webhooks=True)))


@router.get(
    "/webhook_endpoints/{endpoint_id}",
    summary="Fetch a webhook endpoint",
    response_model=EndpointObject,
    responses=NO_ENDPOINT,
)
async def fetch(endpoint_id: str, context: AppContext, project_id: Project) -> Response:
    """Fetch an endpoint; it says whether it fails, and why it is disabled."""
    return answer(_endpoint(await _row(context, webhooks.get_endpoint(project_id, endpoint_id), endpoint_id)))


@router.post(
    "/webhook_endpoints/{endpoint_id}",
    summary="Change a webhook endpoint",
    response_model=EndpointObject,
    responses=NO_ENDPOINT,
    openapi_extra=_body(EndpointChanges),
)
async def update(endpoint_id: str, body: Body, context: AppContext, project_id: Project) -> Response:
    """Change what is given. What is on its way already goes to the new address."""
    wanted = parse(EndpointChanges, body)
    if wanted.url is not None:
        check_receiver(wanted.url, context.settings, "url")
    changes = wanted.model_dump(exclude_none=True, exclude={"enabled"})
    changed = webhooks.update(project_id, endpoint_id, changes, enable=wanted.enabled)
    return answer(_endpoint(await _row(context, changed, endpoint_id)))


@router.delete(
    "/webhook_endpoints/{endpoint_id}",
    summary="Delete a webhook endpoint",
    response_model=EndpointDeleted,
    responses=NO_ENDPOINT,
)
async def delete(endpoint_id: str, context: AppContext, project_id: Project) -> Response:
    """Delete an endpoint. What is on its way to it is given up."""
    await _row(context, webhooks.delete(project_id, endpoint_id), endpoint_id)
    return answer(EndpointDeleted(id=endpoint_id))


@router.post(
    "/webhook_endpoints/{endpoint_id}/rotate_secret",
    summary="Replace a webhook secret",
    response_model=EndpointWithSecret,
    responses=NO_ENDPOINT,
    openapi_extra=_body(RotateRequest),
)
async def rotate_secret(endpoint_id: str, body: Body, context: AppContext, project_id: Project) -> Response:
    """Sign by a new secret, which the answer shows once; for a day by the old one too, if asked for."""
    wanted = parse(RotateRequest, body or b"{}")
    rotated = webhooks.rotate(
        project_id, endpoint_id, signing.new_secret(), keep_previous=wanted.keep_old_secret_active_for_24_hours
    )
    return answer(_with_secret(await _row(context, rotated, endpoint_id)))


@router.post(
    "/webhook_endpoints/{endpoint_id}/test",
    summary="Test a webhook endpoint",
    response_model=TestResult,
    responses=NO_ENDPOINT | {400: ERROR | {"description": "The receiver could not be reached."}},
    openapi_extra=_body(TestRequest),
)
async def test(endpoint_id: str, body: Body, context: AppContext, project_id: Project) -> Response:
    """Send a made-up event, signed as real ones are, and tell what the receiver answers. It is not tried again."""
    wanted = parse(TestRequest, body)
    row = await _row(context, webhooks.get_endpoint(project_id, endpoint_id), endpoint_id)
    now = datetime.now(UTC)
    event = sample(new_id("evt"), wanted.event_type, now, context.settings.base_url)
    content = event.model_dump_json().encode()
    keys = signing.live_secrets(row.secret, row.previous_secret, row.previous_secret_until, now)
    headers = {"Content-Type": "application/json", **signing.signed(keys, event.id, int(now.timestamp()), content)}
    timeout = context.settings.webhook_timeout.total_seconds()
    try:
        got = await asyncio.to_thread(_egress(Allowed.by(context.settings)).post, row.url, content, headers, timeout)
    except Unreached as error:
        raise InvalidRequest(f"{row.url} could not be reached: {error.message}", param="url") from None
    return answer(TestResult(webhook_endpoint_id=row.id, event_type=wanted.event_type, status_code=got.status))


@router.post(
    "/webhook_endpoints/{endpoint_id}/redeliver",
    summary="Send what an endpoint missed",
    response_model=Redelivered,
    responses=NO_ENDPOINT,
    openapi_extra=_body(RedeliverRequest),
)
async def redeliver_since(endpoint_id: str, body: Body, context: AppContext, project_id: Project) -> Response:
    """Send every event since a time that the endpoint did not take, also from while it was disabled."""
    since = datetime.fromtimestamp(parse(RedeliverRequest, body).since, UTC)
    row = await _row(context, webhooks.get_endpoint(project_id, endpoint_id), endpoint_id)
    if row.disabled_at is not None:
        raise InvalidRequest(f"{endpoint_id} is disabled: {row.disabled_reason} Enable it first.", param="enabled")
    sent = await context.database.execute(deliveries.redeliver_since(project_id, endpoint_id, since))
    return answer(Redelivered(webhook_endpoint_id=endpoint_id, events=len(sent)))


@router.get("/webhook_deliveries", summary="List deliveries", response_model=DeliveryList)
async def index_deliveries(
    context: AppContext,
    project_id: Project,
    webhook_endpoint_id: Annotated[str | None, Query(description="Only to this endpoint.")] = None,
    job_id: Annotated[str | None, Query(description="Only of this job.")] = None,
    batch_id: Annotated[str | None, Query(description="Only of this batch.")] = None,
    after: After = None,
    limit: Limit = 20,
) -> Response:
    """List the deliveries to an endpoint, of a job or of a batch, newest first."""
    if webhook_endpoint_id is None and job_id is None and batch_id is None:
        raise InvalidParameter("webhook_endpoint_id, job_id or batch_id is required.", param="webhook_endpoint_id")
    found = deliveries.list_deliveries(
        project_id, limit=limit + 1, endpoint_id=webhook_endpoint_id, job_id=job_id, batch_id=batch_id, after=after
    )
    rows = await context.database.execute(found)
    shown = [DeliveryObject(**_delivery(row)) for row in rows[:limit]]
    return answer(DeliveryList(data=shown, **_edges(rows, limit)))


@router.get(
    "/webhook_deliveries/{delivery_id}",
    summary="Fetch a delivery",
    response_model=DeliveryWithAttempts,
    responses=NO_DELIVERY,
)
async def fetch_delivery(delivery_id: str, context: AppContext, project_id: Project) -> Response:
    """Fetch a delivery with everything that was tried."""
    row = await _row(context, deliveries.get_delivery(project_id, delivery_id), delivery_id)
    attempts = await context.database.execute(deliveries.attempts_of(delivery_id))
    return answer(DeliveryWithAttempts(**_delivery(row), log=[_attempt(attempt) for attempt in attempts]))


@router.post(
    "/webhook_deliveries/{delivery_id}/redeliver",
    summary="Send an event again",
    response_model=DeliveryObject,
    responses=NO_DELIVERY,
)
async def redeliver(delivery_id: str, context: AppContext, project_id: Project) -> Response:
    """Send an event again, with its id, as a new delivery with a schedule of its own."""
    await _row(context, deliveries.get_delivery(project_id, delivery_id), delivery_id)
    sent = await context.database.execute(deliveries.redeliver(project_id, delivery_id))
    if not sent:
        raise InvalidRequest("Its endpoint is deleted or disabled; enable it first.", param="enabled")
    return answer(DeliveryObject(**_delivery(sent[0])))


def describe(app: FastAPI) -> None:
    """Tell the OpenAPI document what receivers get."""
    for kind in event_names(for_webhooks=True):

        @app.webhooks.post(kind, name=kind, tags=["webhooks"], summary=kind, status_code=204)
        def told(event: Event) -> None:
            """Sent with `webhook-id`, `webhook-timestamp` and `webhook-signature`; any 2xx is a success."""


@cache
def _egress(allowed: Allowed) -> Egress:
    return Egress(allowed)


async def _row(context: Context, statement: Statement[RowT], row_id: str) -> RowT:
    rows = await context.database.execute(statement)
    if not rows:
        raise NotFound(f"There is no {row_id!r} here.", param="id")
    return rows[0]


def _attempt(row: AttemptRow) -> AttemptObject:
    return AttemptObject(
        number=row.number,
        started_at=int(row.started_at.timestamp()),
        seconds=row.seconds,
        status_code=row.status_code,
        error_code=row.error_code,
        answer=row.answer,
    )


def _endpoint(row: EndpointRow) -> EndpointObject:
    return EndpointObject(**_shown(row))


def _with_secret(row: EndpointRow) -> EndpointWithSecret:
    return EndpointWithSecret(**_shown(row), signing_secret=row.secret)


def _shown(row: EndpointRow) -> dict[str, Any]:
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


def _delivery(row: DeliveryRow) -> dict[str, Any]:
    plain = ("id", "job_id", "batch_id", "event_id", "event_type", "status", "attempts", "status_code", "error_code")
    return {
        **{name: getattr(row, name) for name in plain},
        "webhook_endpoint_id": row.endpoint_id,
        "next_attempt_at": seconds(row.due_at) if row.finished_at is None else None,
        "created_at": seconds(row.created_at),
        "finished_at": seconds(row.finished_at),
    }


def _edges(rows: Any, limit: int) -> dict[str, Any]:
    shown = rows[:limit]
    return {
        "first_id": shown[0].id if shown else None,
        "last_id": shown[-1].id if shown else None,
        "has_more": len(rows) > limit,
    }
