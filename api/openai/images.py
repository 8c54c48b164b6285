"""OpenAI's synchronous images calls, `client.images.generate`, `.edit` and `.create_variation`: a job and a wait.

The parameters are in `core/requests/openai.py`, the responses in `api/openai/responses.py` and
`api/openai/streaming.py`.
"""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.authentication import Caller, CurrentCaller, requires
from api.context import Context
from api.deps import AppContext, Body
from api.edge.sdk_retries import prefers_async
from api.fine_tuning.models import catalog_for
from api.jobs.idempotency import Key
from api.openai.bodies import as_form, as_json, read_request
from api.openai.calls import CLIENT_CLOSED_REQUEST, ImagesCall
from api.openai.responses import images_response, warnings_header
from api.openai.streaming import STREAM, stream_events
from api.responses import ERROR, answer_without_none, render_json, respond_accepted
from api.sse import EventStreamResponse
from core.parameters.job import Operation
from core.requests.adaptation import adapt
from core.requests.job import parse
from core.requests.openai import EditRequest, GenerateRequest, ImagesRequest, VariationRequest, job_request
from core.responses.job import JobObject
from core.responses.openai import ImagesResponse
from core.scopes import Scope

router = APIRouter(prefix="/v1/images", tags=["images"])

RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {"model": JobObject, "description": "The job, if `Prefer: respond-async` was sent."},
    409: ERROR | {"description": "Another request with this Idempotency-Key is in progress."},
    422: ERROR | {"description": "This Idempotency-Key was used with a different request."},
    **dict.fromkeys((400, 404, 413, 429, 500, 503, 504), ERROR),
}
STREAM_RESPONSES = RESPONSES | {200: {"content": STREAM}}


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/generations",
    summary="Generate images and wait (OpenAI-compatible)",
    response_model=ImagesResponse,
    responses=STREAM_RESPONSES,
    openapi_extra=_body(as_json(GenerateRequest)),
)
@requires(Scope.SUBMIT)
async def generate(
    request: Request, body: Body, context: AppContext, caller: CurrentCaller, idempotency_key: Key = None
) -> Response:
    """Generate images from a prompt and wait for them."""
    parameters = parse(GenerateRequest, body)
    return await generate_images(request, context, caller, "generation", parameters, idempotency_key)


@router.post(
    "/edits",
    summary="Edit an image and wait (OpenAI-compatible)",
    response_model=ImagesResponse,
    responses=STREAM_RESPONSES,
    openapi_extra=_body(as_form(EditRequest, "image", "prompt") | as_json(EditRequest)),
)
@requires(Scope.SUBMIT)
async def edit(request: Request, context: AppContext, caller: CurrentCaller, idempotency_key: Key = None) -> Response:
    """Change an image where its mask is transparent, or all of it without a mask, and wait for the result."""
    parameters = await read_request(request, context, EditRequest)
    return await generate_images(request, context, caller, "edit", parameters, idempotency_key)


@router.post(
    "/variations",
    summary="Create variations of an image and wait (OpenAI-compatible)",
    response_model=ImagesResponse,
    responses=RESPONSES,
    openapi_extra=_body(as_form(VariationRequest, "image") | as_json(VariationRequest)),
)
@requires(Scope.SUBMIT)
async def vary(request: Request, context: AppContext, caller: CurrentCaller, idempotency_key: Key = None) -> Response:
    """Generate variations of an image and wait for them."""
    parameters = await read_request(request, context, VariationRequest)
    return await generate_images(request, context, caller, "variation", parameters, idempotency_key)


async def generate_images(
    request: Request,
    context: Context,
    caller: Caller,
    operation: Operation,
    parameters: ImagesRequest,
    key: str | None,
    render_images: Callable[[ImagesResponse], Response] = answer_without_none,
) -> Response:
    """Submit a job, or resume the job of an earlier attempt, and return its images when they are done."""
    plain_request = job_request(parameters, operation)
    catalog = await catalog_for(context, caller.project_id, plain_request)
    new_request = adapt(plain_request, catalog, context.settings)
    call = ImagesCall(
        request, context, caller, parameters, new_request, key, is_sync=not prefers_async(request.headers)
    )
    job, headers = await call.submit_or_resume()
    headers |= warnings_header(job.warnings)
    if prefers_async(request.headers):
        headers["preference-applied"] = "respond-async"
        return respond_accepted(render_json(context, job), job.id, headers)
    headers["x-safelight-job"] = job.id
    if parameters.streams:
        events = stream_events(context, caller.project_id, job, parameters.end_user)
        return EventStreamResponse(call.track_events(job, events), headers=headers)
    response_format, end_user = parameters.image_format, parameters.end_user
    images = await call.wait(job, lambda row: images_response(context, row, response_format, end_user))
    if images is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    response = render_images(images)
    response.headers.update(headers | warnings_header([item.model_dump() for item in images.warnings or ()]))
    return response
