"""OpenAI's synchronous images calls, `client.images.generate`, `.edit`, `.create_variation`: a job that is waited for.

What they may say is in `core/requests/openai.py`, what they answer in `api/openai/responses.py` and
`api/openai/streaming.py`.
"""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from api.context import Context
from api.deps import AppContext, Body, Project
from api.inputs import read_inputs
from api.jobs.idempotency import REPLAYED, Key, lookup, submit_with_key
from api.jobs.routes import submit_job
from api.jobs.waiting import job_row, until_final_or_gone
from api.openai.bodies import as_form, as_json, read
from api.openai.responses import failure, images_response
from api.openai.streaming import STREAM, events
from api.responses import ERROR, accepted, answer, render
from api.sdk_retries import Call, asked, is_retry, retry_fingerprint, wants_no_wait
from core import idempotency
from core.errors import IdempotencyConflict
from core.jobs import NewJob
from core.parameters import Operation
from core.requests.inputs import Inputs
from core.requests.job import JobRequest, parse
from core.requests.openai import EditRequest, GenerateRequest, ImagesRequest, VariationRequest, job_request
from core.requests.plan import find_model, plan
from core.responses.job import JobObject
from core.responses.openai import ImagesResponse
from core.rows import JobRow
from core.status import JobStatus

router = APIRouter(prefix="/v1/images", tags=["images"])

RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {"model": JobObject, "description": "The job, where `Prefer: respond-async` was sent."},
    409: ERROR | {"description": "A request with this Idempotency-Key is being worked on."},
    422: ERROR | {"description": "This Idempotency-Key came with another request before."},
    **dict.fromkeys((400, 404, 413, 429, 500, 503, 504), ERROR),
}
STREAMED = RESPONSES | {200: {"content": STREAM}}
CLIENT_GONE = 499
"""What a log shows of a call whose client did not wait for the answer; nobody receives it."""
Place = AbstractAsyncContextManager[None]
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
async def generate(
    request: Request, body: Body, context: AppContext, project_id: Project, idempotency_key: Key = None
) -> Response:
    """Draw images and wait for them."""
    return await draw(request, context, project_id, "generation", parse(GenerateRequest, body), idempotency_key)


@router.post(
    "/edits",
    summary="Edit and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses=STREAMED,
    openapi_extra=_body(as_form(EditRequest, "image", "prompt") | as_json(EditRequest)),
)
async def edit(request: Request, context: AppContext, project_id: Project, idempotency_key: Key = None) -> Response:
    """Draw an image anew where the mask says so, and wait for it."""
    return await draw(request, context, project_id, "edit", await read(request, context, EditRequest), idempotency_key)


@router.post(
    "/variations",
    summary="Vary and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses=RESPONSES,
    openapi_extra=_body(as_form(VariationRequest, "image") | as_json(VariationRequest)),
)
async def vary(request: Request, context: AppContext, project_id: Project, idempotency_key: Key = None) -> Response:
    """Draw the subject of an image anew, and wait for it."""
    wanted = await read(request, context, VariationRequest)
    return await draw(request, context, project_id, "variation", wanted, idempotency_key)


async def draw(
    http: Request,
    context: Context,
    project_id: str,
    operation: Operation,
    wanted: ImagesRequest,
    key: str | None,
    told: Callable[[ImagesResponse], Response] = answer,
) -> Response:
    """Submit a job, or find the one of an earlier try, wait until it is done, and answer with its images."""
    request = job_request(wanted, operation)
    model = find_model(request, context.catalog)
    at_once = wants_no_wait(http.headers)
    place = nullcontext() if at_once else context.callers.place(model.queue)
    fingerprint = retry_fingerprint(http.headers, http.url.path, wanted)
    headers = {}
    if key is not None:
        asked_for = idempotency.fingerprint(http.url.path, asked(wanted))
        row, replayed = await _with_key(context, project_id, request, place, idempotency.check(key), asked_for)
        headers = dict(REPLAYED) if replayed else {}
    else:
        found = await context.callers.earlier(project_id, fingerprint) if is_retry(http.headers) else None
        row = found or await _anew(context, project_id, request, place)
    if at_once:
        return accepted(
            render(context, row).model_dump_json(), row.id, headers | {"preference-applied": "respond-async"}
        )
    headers["x-safelight-job"] = row.id
    # Whoever names a key may come back at any time: the job goes on, and nobody else is led to it.
    waiting = nullcontext(Call()) if key is not None else context.callers.waiting(project_id, fingerprint, row.id)
    if wanted.streams:
        streamed = _streamed(context, project_id, waiting, row, wanted.end_user)
        return StreamingResponse(streamed, media_type="text/event-stream", headers=headers | STREAM_HEADERS)
    async with waiting as call:
        if not await until_final_or_gone(http, context, project_id, row.id):
            return Response(status_code=CLIENT_GONE)
        response = told(await _drawn(context, project_id, row.id, wanted))
        call.is_answered = True
    response.headers.update(headers)
    return response


async def _anew(context: Context, project_id: str, request: JobRequest, place: Place) -> JobRow:
    """Submit a job, if there is room for it."""
    async with place:
        return await submit_job(context, *await _planned(context, project_id, request))


async def _with_key(
    context: Context, project_id: str, request: JobRequest, place: Place, key: str, fingerprint: bytes
) -> tuple[JobRow, bool]:
    """The job of the first call with a key, as it is now, and whether that was an earlier one.

    Raises IdempotencyMismatch, IdempotencyConflict, and NotFound if the job has been deleted.
    """
    kept = await lookup(context, project_id, key, fingerprint)
    if kept is None:
        async with place:
            job, inputs = await _planned(context, project_id, request)
            made = await submit_with_key(context, job, inputs, key, fingerprint, lambda row: json.dumps({"id": row.id}))
        if made is not None:
            return await job_row(context, project_id, job.id), False
        kept = await lookup(context, project_id, key, fingerprint)
    if kept is None:
        raise IdempotencyConflict
    return await job_row(context, project_id, kept["id"]), True


async def _planned(context: Context, project_id: str, request: JobRequest) -> tuple[NewJob, Inputs]:
    inputs = await read_inputs(context, project_id, request)
    return plan(request, context.catalog, context.settings, project_id, inputs=inputs.ids), inputs


async def _drawn(context: Context, project_id: str, job_id: str, wanted: ImagesRequest) -> ImagesResponse:
    row = await job_row(context, project_id, job_id)
    if row.status != JobStatus.COMPLETED:
        raise failure(context, row)
    return await images_response(context, row, wanted.response_format, wanted.end_user)


async def _streamed(
    context: Context,
    project_id: str,
    waiting: AbstractAsyncContextManager[Call],
    row: JobRow,
    end_user: str | None,
) -> AsyncIterator[bytes]:
    """The events of a stream whose client may go away."""
    async with waiting as call:
        async for event in events(context, project_id, row, end_user):
            yield event
        call.is_answered = True
