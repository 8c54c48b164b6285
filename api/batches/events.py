"""`GET /v1/batches/{id}/events`: how a batch goes on, as server-sent events until it is final."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from api.batches.routes import NO_BATCH, batch_row, show
from api.context import Context
from api.deps import AppContext, Project
from api.jobs.events import sequence
from api.openapi import event_stream, message
from core.batches import transitions as batches
from core.batches.schemas import BatchObject
from core.event_types import event_names
from core.responses.job import JobEvent
from core.rows import BatchEventRow
from core.status import BatchStatus

router = APIRouter(prefix="/v1/batches", tags=["batches"])

LOOK_SECONDS = 1.0
"""Between two looks at the counts; a move of the batch itself is told at once."""

KEEP_ALIVE_LOOKS = 15
"""Looks without news between two keep-alive comments; proxies cut silent streams."""

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`batch.validating`, `batch.in_progress`, ... and the final event, each with the batch as it is "
        "then. Between them, without an id and at most once a second, `batch.progress` with the batch.",
        "content": event_stream(
            message(event_names("batch"), JobEvent.model_json_schema(), "id"),
            message(["batch.progress"], {"$ref": "#/components/schemas/BatchObject"}),
            description="Server-sent events.",
        ),
    }
}


@router.get(
    "/{batch_id}/events", summary="Follow a batch", response_class=StreamingResponse, responses=STREAM | NO_BATCH
)
async def stream(
    batch_id: str,
    context: AppContext,
    project_id: Project,
    last_event_id: Annotated[str | None, Header(description="Go on after this event.")] = None,
) -> StreamingResponse:
    """Follow a batch: its past events at once, then each as it happens, and its counts as they change."""
    after = sequence(last_event_id)
    await batch_row(context, project_id, batch_id)
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(
        _messages(context, project_id, batch_id, after), media_type="text/event-stream", headers=headers
    )


async def _messages(context: Context, project_id: str, batch_id: str, after: int) -> AsyncIterator[bytes]:
    yield format_sse_event(comment="this stream ends with the batch's final event", retry=1000)
    seen: BatchObject | None = None
    quiet = 0
    async with context.listener.watch(batch_id) as heard:
        while True:
            happened = await context.database.execute(batches.list_events(batch_id, after))
            shown = await show(context, project_id, batch_id)  # after them: no event tells of a batch older than itself
            for event in happened:
                after = event.seq
                seen = shown
                yield _event(event, shown)
                if BatchStatus(event.data["status"]).is_final:
                    return
            if shown != seen:
                seen, quiet = shown, 0
                yield format_sse_event(event="batch.progress", data_str=shown.model_dump_json())
            else:
                quiet += 1
                if quiet % KEEP_ALIVE_LOOKS == 0:
                    yield format_sse_event(comment="keep-alive")
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await heard.get()
            except TimeoutError:
                pass


def _event(row: BatchEventRow, shown: BatchObject) -> bytes:
    """An event of the database, with the batch."""
    data = {"batch": shown.model_dump(mode="json")}
    event = JobEvent(id=row.id, type=row.type, created_at=int(row.created_at.timestamp()), data=data)
    return format_sse_event(id=str(row.seq), event=row.type, data_str=event.model_dump_json())
