"""`/v1/webhook_deliveries`: the deliveries of events to webhooks."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from api.authentication import Project, requires
from api.deps import AppContext
from api.pagination import AfterDelivery, check_after
from api.responses import ERROR, answer
from api.webhooks.routes import Limit, edges_of, get_row
from api.webhooks.schemas import AttemptObject, DeliveryList, DeliveryObject, DeliveryWithAttempts
from core.errors import InvalidParameter, InvalidRequest
from core.outbox import attempts, deliveries, redelivery
from core.responses.job import seconds
from core.rows.webhook import AttemptRow, DeliveryRow
from core.scopes import Scope

router = APIRouter(prefix="/v1", tags=["webhooks"])

NO_DELIVERY: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "Your project has no such delivery."}}


@router.get("/webhook_deliveries", summary="List deliveries", response_model=DeliveryList)
@requires(Scope.WEBHOOKS)
async def index_deliveries(
    context: AppContext,
    project_id: Project,
    webhook_endpoint_id: Annotated[str | None, Query(description="Only deliveries to this endpoint.")] = None,
    job_id: Annotated[str | None, Query(description="Only deliveries of this job's events.")] = None,
    batch_id: Annotated[str | None, Query(description="Only deliveries of this batch's events.")] = None,
    after: AfterDelivery = None,
    limit: Limit = 20,
) -> Response:
    """List the deliveries of an endpoint, a job or a batch, newest first."""
    if webhook_endpoint_id is None and job_id is None and batch_id is None:
        raise InvalidParameter("webhook_endpoint_id, job_id or batch_id is required.", param="webhook_endpoint_id")
    await check_after(context, project_id, "webhook delivery", after)
    page = deliveries.list_deliveries(
        project_id, limit=limit + 1, endpoint_id=webhook_endpoint_id, job_id=job_id, batch_id=batch_id, after=after
    )
    rows = await context.database.execute(page)
    objects = [DeliveryObject(**_delivery(row)) for row in rows[:limit]]
    return answer(DeliveryList(data=objects, **edges_of(rows, limit)))


@router.get(
    "/webhook_deliveries/{delivery_id}",
    summary="Get a delivery",
    response_model=DeliveryWithAttempts,
    responses=NO_DELIVERY,
)
@requires(Scope.WEBHOOKS)
async def fetch_delivery(delivery_id: str, context: AppContext, project_id: Project) -> Response:
    """Get a delivery with all its attempts."""
    row = await get_row(context, deliveries.get_delivery(project_id, delivery_id), delivery_id)
    rows = await context.database.execute(attempts.list_attempts(delivery_id))
    return answer(DeliveryWithAttempts(**_delivery(row), log=[_attempt(attempt) for attempt in rows]))


@router.post(
    "/webhook_deliveries/{delivery_id}/redeliver",
    summary="Redeliver an event",
    response_model=DeliveryObject,
    responses=NO_DELIVERY,
)
@requires(Scope.WEBHOOKS)
async def redeliver(delivery_id: str, context: AppContext, project_id: Project) -> Response:
    """Send an event again, with the same event id, as a new delivery with its own retry schedule."""
    await get_row(context, deliveries.get_delivery(project_id, delivery_id), delivery_id)
    rows = await context.database.execute(redelivery.redeliver(project_id, delivery_id))
    if not rows:
        raise InvalidRequest("Its endpoint is deleted or disabled; enable it first.", param="enabled")
    return answer(DeliveryObject(**_delivery(rows[0])))


def _attempt(row: AttemptRow) -> AttemptObject:
    return AttemptObject(
        number=row.number,
        started_at=int(row.started_at.timestamp()),
        seconds=row.seconds,
        status_code=row.status_code,
        error_code=row.error_code,
        answer=row.answer,
    )


def _delivery(row: DeliveryRow) -> dict[str, Any]:
    names = ("id", "job_id", "batch_id", "event_id", "event_type", "status", "attempts", "status_code", "error_code")
    return {
        **{name: getattr(row, name) for name in names},
        "webhook_endpoint_id": row.endpoint_id,
        "next_attempt_at": seconds(row.due_at) if row.finished_at is None else None,
        "created_at": seconds(row.created_at),
        "finished_at": seconds(row.finished_at),
    }
