"""OpenAI's synchronous images calls, `client.images.generate`, `.edit`, `.create_variation`: a job that is waited for.

What they may say is in `core/openai_requests.py`, what they answer in `api/answers.py` and `api/streaming.py`.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from api.answers import failure, images_response
from api.callers import is_retry, mark_of, wants_no_wait
from api.context import Context
from api.deps import Body, Parts, Project
from api.inputs import bring
from api.jobs import ERROR, accepted, answer, render, submit_job
from api.openai_bodies import as_form, as_json, read
from api.streaming import STREAM, events
from api.waiting import job_row, until_final_or_gone
from core import views
from core.catalog import Operation
from core.errors import QueueFull
from core.openai_answers import ImagesResponse
from core.openai_requests import EditRequest, GenerateRequest, ImagesRequest, VariationRequest, job_request
from core.requests import able_model, parse, plan
from core.schemas import JobObject
from core.status import JobStatus

router = APIRouter(prefix="/v1/images", tags=["images"])

RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {"model": JobObject, "description": "The job, where `Prefer: respond-async` was sent."},
    **dict.fromkeys((400, 413, 429, 500, 503, 504), ERROR),
}
STREAMED = RESPONSES | {200: {"content": STREAM}}
CLIENT_GONE = 499
"""What a log shows of a call whose client did not wait for the answer; nobody receives it."""
STREAM_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/generations",
    summary="Draw and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses=STREAMED,
    openapi_extra=_body(as_json(GenerateRequest)),
)
async def generate(request: Request, body: Body, parts: Parts, project_id: Project) -> Response:
    """Draw pictures and wait for them."""
    return await draw(request, parts, project_id, "generation", parse(GenerateRequest, body))


@router.post(
    "/edits",
    summary="Edit and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses=STREAMED,
    openapi_extra=_body(as_form(EditRequest) | as_json(EditRequest)),
)
async def edit(request: Request, parts: Parts, project_id: Project) -> Response:
    """Draw a picture anew where the mask says so, and wait for it."""
    return await draw(request, parts, project_id, "edit", await read(request, parts, EditRequest))


@router.post(
    "/variations",
    summary="Vary and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses=RESPONSES,
    openapi_extra=_body(as_form(VariationRequest) | as_json(VariationRequest)),
)
async def vary(request: Request, parts: Parts, project_id: Project) -> Response:
    """Draw the subject of a picture anew, and wait for it."""
    return await draw(request, parts, project_id, "variation", await read(request, parts, VariationRequest))


async def draw(
    http: Request,
    parts: Context,
    project_id: str,
    operation: Operation,
    wanted: ImagesRequest,
    told: Callable[[ImagesResponse], Response] = answer,
) -> Response:
    """Submit a job, or find the one of an earlier try, wait until it is done, and answer with its pictures."""
    request = job_request(wanted, operation)
    model = able_model(request, parts.catalog)
    mark = mark_of(http.headers, http.url.path, wanted)
    row = await parts.callers.earlier(project_id, mark) if is_retry(http.headers) else None
    if row is None:
        at_once = wants_no_wait(http.headers)
        if not at_once:
            await _refuse_where_full(parts, model.queue)
        brought = await bring(parts, project_id, request)
        job = plan(request, parts.catalog, parts.settings, project_id, inputs=brought.ids)
        row = await submit_job(parts, job, brought)
        if at_once:
            return accepted(render(parts, row).model_dump_json(), row.id, {"preference-applied": "respond-async"})
    headers = {"x-safelight-job": row.id}
    if wanted.streams:
        streamed = _streamed(parts, project_id, mark, row, wanted.end_user)
        return StreamingResponse(streamed, media_type="text/event-stream", headers=headers | STREAM_HEADERS)
    async with parts.callers.waiting(project_id, mark, row.id) as call:
        if not await until_final_or_gone(http, parts, project_id, row.id):
            return Response(status_code=CLIENT_GONE)
        response = told(await _drawn(parts, project_id, row.id, wanted))
        call.is_settled = True
    response.headers.update(headers)
    return response


async def _drawn(parts: Context, project_id: str, job_id: str, wanted: ImagesRequest) -> ImagesResponse:
    row = await job_row(parts, project_id, job_id)
    if row.status != JobStatus.COMPLETED:
        raise failure(parts, row)
    return await images_response(parts, row, wanted.response_format, wanted.end_user)


async def _streamed(
    parts: Context, project_id: str, mark: bytes, row: sa.Row[Any], end_user: str | None
) -> AsyncIterator[bytes]:
    """The events of a stream whose client may go away."""
    async with parts.callers.waiting(project_id, mark, row.id) as call:
        async for event in events(parts, project_id, row, end_user):
            yield event
        call.is_settled = True


async def _refuse_where_full(parts: Context, queue: str) -> None:
    depth = parts.settings.max_queue_depth
    if await parts.database.execute(views.nth_in_line(queue, depth)):
        raise QueueFull(
            f"{depth} jobs wait already, so that this call would not be answered in time; nothing was stored. "
            "Try again later, or POST /v1/jobs and come back for the pictures."
        )
