"""`/v1/responses`: OpenAI's Responses API for its tool `image_generation`. A response is a job with one image.

The request is in `core/requests/response.py`, the response object in `core/responses/response.py`.
"""

import re
from typing import Annotated, Any

from annotated_types import Ge
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.authentication import CurrentCaller, Project, requires
from api.context import Context
from api.deps import AppContext, body_up_to
from api.edge.sdk_retries import prefers_async
from api.fine_tuning.models import catalog_for
from api.jobs import routes as job_routes
from api.jobs.idempotency import Key
from api.jobs.waiting import job_row
from api.openai.bodies import as_json
from api.openai.calls import CLIENT_CLOSED_REQUEST, ImagesCall
from api.openai.response_events import STREAM, full_response, response_events
from api.openai.responses import warnings_header
from api.responses import ERROR, answer
from api.sse import EventStreamResponse
from core.batches.input_file import max_line_bytes
from core.errors import InvalidParameter, NotFound
from core.ids import derived_id, id_pattern
from core.metadata_keys import RESPONSE_MODEL_KEY
from core.parameters.image_source import ImageSource
from core.parameters.job import Operation
from core.requests.adaptation import adapt
from core.requests.job import parse
from core.requests.openai import EditRequest, job_request, warning
from core.requests.response import (
    ImageGenerationTool,
    ResponseRequest,
    images_request,
    paths_of_tool,
    response_metadata,
)
from core.requests.response_input import EarlierCall, ResponseInput, read_input
from core.responses.response import DeletedResponse, ResponseObject, response_object
from core.rows.job import JobRow
from core.scopes import Scope
from core.status import JobStatus
from core.text import quote

router = APIRouter(prefix="/v1/responses", tags=["responses"])

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "Your project has no such response."}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The response with the image, or the state of the job with `background`.", "content": STREAM},
    409: ERROR | {"description": "Another request with this Idempotency-Key is in progress."},
    422: ERROR | {"description": "This Idempotency-Key was used with a different request."},
    **dict.fromkeys((400, 404, 413, 429, 500, 503, 504), ERROR),
}


@router.post(
    "",
    summary="Generate an image with the tool of the Responses API (OpenAI-compatible)",
    response_model=ResponseObject,
    responses=RESPONSES,
    openapi_extra={"requestBody": {"required": True, "content": as_json(ResponseRequest)}},
)
@requires(Scope.SUBMIT)
async def create(request: Request, context: AppContext, caller: CurrentCaller, idempotency_key: Key = None) -> Response:
    """Generate an image from `input`, or edit the image in it or in the previous response, and wait for it.

    Only the tool `image_generation` is executed. There is no text model: `model` may be any name.
    """
    project_id = caller.project_id
    new_response, index, tool, content = await _read(request, context, project_id)
    is_background = bool(new_response.background) or prefers_async(request.headers)
    with paths_of_tool(index):
        images = await _images(context, project_id, new_response, tool, content)
        parameters = images_request(new_response, tool, content, images)
        operation: Operation = "edit" if isinstance(parameters, EditRequest) else "generation"
        plain_request = job_request(parameters, operation)
        catalog = await catalog_for(context, caller.project_id, plain_request)
        new_job = adapt(plain_request, catalog, context.settings)
        new_job.add_warnings([*content.warnings, *new_response.warnings()])
        new_job.metadata.update(response_metadata(new_response))
        call = ImagesCall(request, context, caller, parameters, new_job, idempotency_key, is_sync=not is_background)
        job, headers = await call.submit_or_resume()
    headers |= {"x-safelight-job": job.id} | warnings_header(job.warnings)
    if new_response.stream:
        events = response_events(context, project_id, job, is_background=is_background)
        return EventStreamResponse(call.track_events(job, events), headers=headers)
    if is_background:
        return answer(response_object(job, is_background=True), headers=headers)
    response = await call.wait(job, lambda row: full_response(context, row, is_background=False))
    if response is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    headers |= warnings_header([item.model_dump() for item in response.warnings])
    return answer(response, headers=headers)


@router.get(
    "/{response_id}",
    summary="Get a response (OpenAI-compatible)",
    response_model=ResponseObject,
    responses=NOT_FOUND | {200: {"content": STREAM}},
)
@requires(Scope.READ)
async def fetch(
    response_id: str,
    context: AppContext,
    project_id: Project,
    stream: Annotated[bool, Query(description="Respond with the events of the response.")] = False,
    starting_after: Annotated[
        int | None, Ge(0), Query(description="With `stream`: only events after this `sequence_number`.")
    ] = None,
) -> Response:
    """Get a response: with its image as soon as the job is completed. The job is `job_` with the rest of the id."""
    row = await _row(context, project_id, response_id)
    if stream:
        after = -1 if starting_after is None else starting_after
        return EventStreamResponse(response_events(context, project_id, row, after))
    return answer(await full_response(context, row))


@router.post(
    "/{response_id}/cancel",
    summary="Cancel a response (OpenAI-compatible)",
    response_model=ResponseObject,
    responses=NOT_FOUND,
)
@requires(Scope.SUBMIT)
async def cancel(response_id: str, context: AppContext, project_id: Project) -> Response:
    """Cancel the job of a response. A final one is unchanged."""
    row = await _row(context, project_id, response_id)
    await job_routes.cancel(row.id, context, project_id)
    return answer(await full_response(context, await job_row(context, project_id, row.id)))


@router.delete(
    "/{response_id}",
    summary="Delete a response (OpenAI-compatible)",
    response_model=DeletedResponse,
    responses=NOT_FOUND | {409: ERROR | {"description": "The job is not final: cancel it first."}},
)
@requires(Scope.SUBMIT)
async def delete(response_id: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Delete the job of a response, with its image."""
    row = await _row(context, caller.project_id, response_id)
    await job_routes.delete(row.id, context, caller)
    return answer(DeletedResponse(id=response_id))


async def _read(
    request: Request, context: Context, project_id: str
) -> tuple[ResponseRequest, int, ImageGenerationTool, ResponseInput]:
    """The request, its tool with the tool's index, and its input. A large body is parsed in a thread."""
    settings = context.settings
    body = await body_up_to(request, max_line_bytes(settings))

    def read() -> tuple[ResponseRequest, int, ImageGenerationTool, ResponseInput]:
        new_response = parse(ResponseRequest, body)
        index, tool = new_response.tool()
        return new_response, index, tool, read_input(new_response.input)

    if len(body) <= settings.max_body_bytes:
        return read()
    return await context.threads.parsing.run(project_id, read)


async def _images(
    context: Context,
    project_id: str,
    new_response: ResponseRequest,
    tool: ImageGenerationTool,
    content: ResponseInput,
) -> list[ImageSource]:
    """The images to edit: those of the input, or that of the previous response. Raises InvalidParameter."""
    images = list(content.images)
    if (previous_id := new_response.previous_response_id) is not None:
        previous = EarlierCall(previous_id, "previous_response_id")
        if images or tool.action == "generate":
            await _earlier_image(context, project_id, previous)
            message = "The image of the previous response is not used."
            content.warnings.append(warning("previous_response_id", message, "images_not_used"))
        else:
            images.append(previous)
    if tool.action == "generate":
        if images:
            message = "The images of the input are not used: action is generate."
            content.warnings.append(warning("input", message, "images_not_used"))
        return []
    return [
        await _earlier_image(context, project_id, image) if isinstance(image, EarlierCall) else image
        for image in images
    ]


async def _earlier_image(context: Context, project_id: str, call: EarlierCall) -> ImageSource:
    """The image of an earlier response or image call. Raises InvalidParameter."""
    kind = "response" if call.param == "previous_response_id" else "image call"
    prefix = "resp" if kind == "response" else "ig"
    is_id = re.fullmatch(id_pattern(prefix), call.id)
    row = await context.job_reader.get(project_id, derived_id("job", call.id)) if is_id else None
    if row is None:
        raise InvalidParameter(f"There is no {kind} {quote(call.id)}.", param=call.param)
    if row.status != JobStatus.COMPLETED:
        raise InvalidParameter(f"The {kind} {call.id} is {row.status}; it has no image.", param=call.param)
    return ImageSource(image_id=row.images[0]["id"])


async def _row(context: Context, project_id: str, response_id: str) -> JobRow:
    """The job of a response. Raises NotFound."""
    if re.fullmatch(id_pattern("resp"), response_id):
        row = await context.job_reader.get(project_id, derived_id("job", response_id))
        if row is not None and RESPONSE_MODEL_KEY in row.metadata:
            return row
    raise NotFound(f"There is no response {quote(response_id)}.", param="id")
