"""`GET /v1/batches/{id}/events`: the progress of a batch as server-sent events until the batch is final."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import format_sse_event

from api.authentication import Project, requires
from api.batches.routes import NO_BATCH, batch_row, show
from api.context import Context
from api.deps import AppContext
from api.openapi import event_stream, message
from api.sse import EventStreamResponse, parse_last_event_id
from core.batches import queries as batch_queries
from core.batches.schemas import BatchObject
from core.errors import NotFound
from core.event_types import event_names
from core.responses.job import JobEvent
from core.rows.batch import BatchEventRow
from core.scopes import Scope
from core.status import BatchStatus

router = APIRouter(prefix="/v1/batches", tags=["batches"])

POLL_SECONDS = 1.0
"""Time between two readings of the counts; an event of the batch itself is sent at once."""

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`batch.validating`, `batch.in_progress` and so on, then the final event, each with the batch "
        "as it is at that moment. Between them, without an id and at most once a second: `batch.progress` with the "
        "batch.",
        "content": event_stream(
            message(event_names("batch"), JobEvent.model_json_schema(), "id"),
            message(["batch.progress"], {"$ref": "#/components/schemas/BatchObject"}),
            description="A server-sent event; send its `id` as `Last-Event-ID` to resume after it.",
        ),
    },
    204: {"description": "The batch is final and has no event after `Last-Event-ID`."},
}


@router.get(
    "/{batch_id}/events", summary="Follow a batch", response_class=StreamingResponse, responses=STREAM | NO_BATCH
)
@requires(Scope.READ)
async def stream(
    batch_id: str,
    context: AppContext,
    project_id: Project,
    last_event_id: Annotated[str | None, Header(description="Resume after the event with this id.")] = None,
) -> Response:
    """Stream a batch's events: past events first, then new events as they happen and the counts as they change."""
    after = parse_last_event_id(last_event_id)
    row = await batch_row(context, project_id, batch_id)
    if BatchStatus(row.status).is_final and not await context.database.execute(
        batch_queries.list_events(batch_id, after)
    ):
        return Response(status_code=204)
    return EventStreamResponse(_events(context, project_id, batch_id, after), retry=True)


async def _events(context: Context, project_id: str, batch_id: str, after: int) -> AsyncGenerator[bytes, None]:
    previous: BatchObject | None = None
    async with context.listener.watch(batch_id) as messages:
        while True:
            rows = await context.database.execute(batch_queries.list_events(batch_id, after))
            try:
                batch = await show(context, project_id, batch_id)  # read after the events, so it is never older
            except NotFound:  # it was deleted
                return
            for row in rows:
                after = row.seq
                yield _event(row, batch)
                if BatchStatus(row.data["status"]).is_final:
                    return
            if not rows and batch != previous:
                yield format_sse_event(event="batch.progress", data_str=batch.model_dump_json())
            previous = batch
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await messages.get()


def _event(row: BatchEventRow, batch: BatchObject) -> bytes:
    """An event from the database, with the batch."""
    data = {"batch": batch.model_dump(mode="json")}
    event = JobEvent(id=row.id, type=row.type, created_at=int(row.created_at.timestamp()), data=data)
    return format_sse_event(id=str(row.seq), event=row.type, data_str=event.model_dump_json())
