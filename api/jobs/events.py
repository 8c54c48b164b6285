"""`GET /v1/jobs/{id}/events`: the events of a job as server-sent events until the job is final."""

import json
from collections.abc import AsyncGenerator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import format_sse_event

from api.authentication import Project, requires
from api.context import Context
from api.deps import AppContext
from api.jobs.routes import NOT_FOUND, show
from api.jobs.waiting import follow, job_row
from api.openapi import event_stream, message
from api.sse import EventStreamResponse, parse_last_event_id
from core import queries
from core.event_types import event_names
from core.responses.job import JobEvent
from core.rows.job import JobEventRow
from core.scopes import Scope
from core.status import JobStatus

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

PROGRESS = {name: {"type": "integer"} for name in ("attempt", "step", "steps")} | {"job_id": {"type": "string"}}
PREVIEW = PROGRESS | {
    **{name: {"type": "integer"} for name in ("index", "partial_image_index")},
    **{name: {"type": "string"} for name in ("media_type", "b64_json")},
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`job.queued`, `job.started` and so on, then the final event, which contains the job. Between "
        "them, without an id: `job.progress`, and `preview` if the job has `partial_images`.",
        "content": event_stream(
            message(event_names("job"), JobEvent.model_json_schema(), "id"),
            message(["job.progress"], {"type": "object", "properties": PROGRESS, "required": [*PROGRESS]}),
            message(["preview"], {"type": "object", "properties": PREVIEW, "required": [*PREVIEW]}),
            description="A server-sent event; send its `id` as `Last-Event-ID` to resume after it.",
        ),
    },
    204: {"description": "The job is final and has no event after `Last-Event-ID`."},
}


@router.get("/{job_id}/events", summary="Follow a job", response_class=StreamingResponse, responses=STREAM | NOT_FOUND)
@requires(Scope.READ)
async def stream(
    job_id: str,
    context: AppContext,
    project_id: Project,
    last_event_id: Annotated[str | None, Header(description="Resume after the event with this id.")] = None,
) -> Response:
    """Stream a job's events: past events first, then new events and each denoising step as they happen."""
    after = parse_last_event_id(last_event_id)
    row = await job_row(context, project_id, job_id)
    if JobStatus(row.status).is_final and not await context.database.execute(queries.list_events(job_id, after)):
        return Response(status_code=204)
    return EventStreamResponse(_events(context, project_id, job_id, after), retry=True)


async def _events(context: Context, project_id: str, job_id: str, after: int) -> AsyncGenerator[bytes, None]:
    async for item in follow(context, job_id, after):
        if isinstance(item, JobEventRow):
            yield await _event(context, project_id, item)
        else:
            yield progress(job_id, item)


def progress(job_id: str, message: Mapping[str, Any]) -> bytes:
    """A denoising step or a preview. Neither is in the database, so a broken stream loses it."""
    data = {"job_id": job_id} | {name: value for name, value in message.items() if name != "type"}
    event = "preview" if message["type"] == "preview" else "job.progress"
    return format_sse_event(event=event, data_str=json.dumps(data))


async def _event(context: Context, project_id: str, row: JobEventRow) -> bytes:
    """An event from the database; a final event contains the job."""
    data = {"job_id": row.job_id, **row.data}
    if JobStatus(row.data["status"]).is_final:
        data["job"] = (await show(context, project_id, row.job_id)).model_dump(mode="json")
    event = JobEvent(id=row.id, type=row.type, created_at=int(row.created_at.timestamp()), data=data)
    return format_sse_event(id=str(row.seq), event=row.type, data_str=event.model_dump_json())
