"""`GET /v1/jobs/events`: several jobs in one stream of server-sent events.

A browser opens only six connections to a server, so a page that shows fifty jobs cannot follow each by its own stream.
The stream begins with each job as it is, so a client that reconnects needs no id.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen
from fastapi import APIRouter, Query
from fastapi.responses import Response, StreamingResponse
from fastapi.sse import format_sse_event

from api.authentication import Project, requires
from api.context import Context
from api.deps import AppContext
from api.jobs.events import PREVIEW, PROGRESS, progress
from api.jobs.routes import NOT_FOUND, show
from api.jobs.waiting import job_row
from api.openapi import event_stream, message
from api.sse import EventStreamResponse
from core.errors import NotFound
from core.scopes import Scope

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

MAX_JOBS = 100
"""Jobs in one stream."""

MAX_EVENTS = 200
"""Events that wait for a slow client; then the jobs wait too, and what they miss is read again."""

STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`job` with each job as it is, and again after each change; between them `job.progress` and "
        "`preview`; `job.deleted` for a job that no longer exists. The stream ends when all jobs are final.",
        "content": event_stream(
            message(["job"], {"$ref": "#/components/schemas/JobObject"}),
            message(["job.progress"], {"type": "object", "properties": PROGRESS, "required": [*PROGRESS]}),
            message(["preview"], {"type": "object", "properties": PREVIEW, "required": [*PREVIEW]}),
            message(["job.deleted"], {"type": "object", "properties": {"job_id": {"type": "string"}}}),
            description="A server-sent event.",
        ),
    }
}

JobIds = Annotated[
    list[str], MinLen(1), MaxLen(MAX_JOBS), Query(description=f"The jobs to follow, at most {MAX_JOBS}.")
]


@router.get("/events", summary="Follow several jobs", response_class=StreamingResponse, responses=STREAM | NOT_FOUND)
@requires(Scope.READ)
async def stream_jobs(context: AppContext, project_id: Project, job_id: JobIds) -> Response:
    """Stream several jobs: each as it is, then its changes, steps and previews, until all are final."""
    ids = list(dict.fromkeys(job_id))
    await asyncio.gather(*(job_row(context, project_id, each_id) for each_id in ids))
    return EventStreamResponse(_events(context, project_id, ids), retry=True)


async def _events(context: Context, project_id: str, ids: list[str]) -> AsyncGenerator[bytes, None]:
    """The events of all jobs, in the order in which they happen."""
    events: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=MAX_EVENTS)
    followers = asyncio.create_task(_follow_all(context, project_id, ids, events))
    try:
        while (event := await events.get()) is not None:
            yield event
        await followers
    finally:
        followers.cancel()
        await asyncio.gather(followers, return_exceptions=True)


async def _follow_all(context: Context, project_id: str, ids: list[str], events: asyncio.Queue[bytes | None]) -> None:
    """Follow all jobs at once; None in the queue is the end. Raises what the first of them raises that fails."""
    tasks = [asyncio.create_task(_follow(context, project_id, job_id, events)) for job_id in ids]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await events.put(None)


async def _follow(context: Context, project_id: str, job_id: str, events: asyncio.Queue[bytes | None]) -> None:
    """Put a job's events into the queue until it is final, or deleted."""
    async with context.job_watcher.watch(job_id) as messages:
        version = -1
        while True:
            try:
                row = await job_row(context, project_id, job_id)
            except NotFound:
                deletion = json.dumps({"job_id": job_id})
                await events.put(format_sse_event(event="job.deleted", data_str=deletion))
                return
            if row.version != version:
                version = row.version
                job = await show(context, project_id, job_id)
                await events.put(format_sse_event(event="job", data_str=job.model_dump_json()))
                if job.status.is_final:
                    return
            while True:
                news = await messages.get()
                if news["type"] != "changed":
                    await events.put(progress(job_id, news))
                elif news.get("version") != version:
                    break
