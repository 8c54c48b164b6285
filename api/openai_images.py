"""OpenAI's synchronous images calls, `client.images.generate`, `.edit`, `.create_variation`: a job that is waited for.

What they may say is in `api/openai_requests.py`, what they answer in `api/answers.py` and `api/streaming.py`.
"""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse

from api.answers import ImagesResponse, failure, images_response
from api.context import Context
from api.deps import Body, Parts, Project
from api.inputs import bring
from api.jobs import ERROR, answer, submit_job
from api.openai_requests import (
    EditRequest,
    GenerateRequest,
    ImagesRequest,
    VariationRequest,
    as_form,
    as_json,
    read,
)
from api.streaming import STREAM, events
from api.waiting import job_row, until_final
from core.catalog import Operation
from core.requests import JobRequest, able_model, parse, plan
from core.status import JobStatus

router = APIRouter(prefix="/v1/images", tags=["images"])

RESPONSES: dict[int | str, dict[str, Any]] = dict.fromkeys((400, 413, 500, 503, 504), ERROR)
STREAMED = RESPONSES | {200: {"content": STREAM}}
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
async def generate(body: Body, parts: Parts, project_id: Project) -> Response:
    """Draw pictures and wait for them."""
    return await _draw(parts, project_id, "generation", parse(GenerateRequest, body))


@router.post(
    "/edits",
    summary="Edit and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses=STREAMED,
    openapi_extra=_body(as_form(EditRequest) | as_json(EditRequest)),
)
async def edit(request: Request, parts: Parts, project_id: Project) -> Response:
    """Draw a picture anew where the mask says so, and wait for it."""
    return await _draw(parts, project_id, "edit", await read(request, parts, EditRequest))


@router.post(
    "/variations",
    summary="Vary and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses=RESPONSES,
    openapi_extra=_body(as_form(VariationRequest) | as_json(VariationRequest)),
)
async def vary(request: Request, parts: Parts, project_id: Project) -> Response:
    """Draw the subject of a picture anew, and wait for it."""
    return await _draw(parts, project_id, "variation", await read(request, parts, VariationRequest))


def _job_request(wanted: ImagesRequest, operation: Operation) -> JobRequest:
    """What is asked for as a request for a job; how it is answered stays behind."""
    shared = wanted.model_fields_set & JobRequest.model_fields.keys()
    request = JobRequest.model_validate({"operation": operation} | {name: getattr(wanted, name) for name in shared})
    if wanted.end_user is not None:
        request.metadata.setdefault("user", wanted.end_user)
    return request


async def _draw(parts: Context, project_id: str, operation: Operation, wanted: ImagesRequest) -> Response:
    """Submit a job, wait until it is done, and answer with its pictures."""
    request = _job_request(wanted, operation)
    able_model(request, parts.catalog)
    brought = await bring(parts, project_id, request)
    job = plan(request, parts.catalog, parts.settings, project_id, inputs=brought.ids)
    row = await submit_job(parts, job, brought)
    headers = {"x-safelight-job": row.id}
    if wanted.streams:
        told = events(parts, project_id, row, wanted.end_user)
        return StreamingResponse(told, media_type="text/event-stream", headers=headers | STREAM_HEADERS)
    await until_final(parts, project_id, row.id, parts.settings.sync_timeout.total_seconds())
    row = await job_row(parts, project_id, row.id)
    if row.status != JobStatus.COMPLETED:
        raise failure(parts, row)
    return answer(await images_response(parts, row, wanted.response_format, wanted.end_user), headers=headers)
