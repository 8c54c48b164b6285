"""`GET /v1/jobs/{id}/events`: everything that happens to a job, as server-sent events until it is final."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event

from api.context import Context
from api.deps import AppContext, Project
from api.jobs.routes import NOT_FOUND, show
from api.jobs.waiting import follow, job_row
from api.openapi import event_stream, message
from core.errors import InvalidParameter
from core.event_types import event_names
from core.responses.job import JobEvent
from core.rows import JobEventRow
from core.status import JobStatus

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

KEEP_ALIVE_LOOKS = 15
"""Quiet looks at the database (a second each) between two keep-alive comments; proxies cut silent streams."""

PROGRESS = {name: {"type": "integer"} for name in ("attempt", "step", "steps")} | {"job_id": {"type": "string"}}
PREVIEW = PROGRESS | {
    **{name: {"type": "integer"} for name in ("index", "partial_image_index")},
    **{name: {"type": "string"} for name in ("media_type", "b64_json")},
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`job.queued`, `job.started`, ... and the final event, which carries the job. Between them, "
        "without an id, `job.progress` and, where the job asked for `partial_images`, `preview`.",
        "content": event_stream(
            message(event_names("job"), JobEvent.model_json_schema(), "id"),
            message(["job.progress"], {"type": "object", "properties": PROGRESS, "required": [*PROGRESS]}),
            message(["preview"], {"type": "object", "properties": PREVIEW, "required": [*PREVIEW]}),
            description="A message; `id` is what `Last-Event-ID` goes on after.",
        ),
    }
}


@router.get("/{job_id}/events", summary="Follow a job", response_class=StreamingResponse, responses=STREAM | NOT_FOUND)
async def stream(
    job_id: str,
    context: AppContext,
    project_id: Project,
    last_event_id: Annotated[str | None, Header(description="Go on after this event.")] = None,
) -> StreamingResponse:
    """Follow a job: its past events at once, then each as it happens, and every denoising step."""
    after = sequence(last_event_id)
    await job_row(context, project_id, job_id)
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(
        _messages(context, project_id, job_id, after), media_type="text/event-stream", headers=headers
    )


def sequence(last_event_id: str | None) -> int:
    """After which event a stream goes on. Raises InvalidParameter."""
    try:
        return int(last_event_id or 0)
    except ValueError:
        raise InvalidParameter(
            "Last-Event-ID must be the `id` of an event of this stream.", param="Last-Event-ID"
        ) from None


async def _messages(context: Context, project_id: str, job_id: str, after: int) -> AsyncIterator[bytes]:
    quiet = 0
    yield format_sse_event(comment="this stream ends with the job's final event", retry=1000)
    async for happened in follow(context, job_id, after):
        if happened is None:
            quiet += 1
            if quiet % KEEP_ALIVE_LOOKS == 0:
                yield format_sse_event(comment="keep-alive")
        elif isinstance(happened, JobEventRow):
            yield await _event(context, project_id, happened)
        else:
            yield _passing(job_id, happened)


def _passing(job_id: str, message: Mapping[str, Any]) -> bytes:
    """A step or a preview, which the database does not know and a broken stream loses."""
    said = {name: value for name, value in message.items() if name != "type"}
    kind = "preview" if message["type"] == "preview" else "job.progress"
    return format_sse_event(event=kind, data_str=json.dumps({"job_id": job_id, **said}))


async def _event(context: Context, project_id: str, row: JobEventRow) -> bytes:
    """An event of the database; a final one carries the job as it ended."""
    data = {"job_id": row.job_id, **row.data}
    if JobStatus(row.data["status"]).is_final:
        data["job"] = (await show(context, project_id, row.job_id)).model_dump(mode="json")
    event = JobEvent(id=row.id, type=row.type, created_at=int(row.created_at.timestamp()), data=data)
    return format_sse_event(id=str(row.seq), event=row.type, data_str=event.model_dump_json())
