"""OpenAI's synchronous images calls, `client.images.generate`, `.edit` and `.create_variation`: a job and a wait.

The parameters are in `core/requests/openai.py`, the responses in `api/openai/responses.py` and
`api/openai/streaming.py`.
"""

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.authentication import Caller, CurrentCaller, requires
from api.context import Context
from api.deps import AppContext, Body
from api.inputs import read_inputs
from api.jobs.idempotency import REPLAY_HEADERS, Key, lookup, submit_with_key
from api.jobs.routes import submit_job
from api.jobs.waiting import job_row, wait_until_final_or_disconnected
from api.openai.bodies import as_form, as_json, read_request
from api.openai.responses import failure, images_response, warnings_header
from api.openai.streaming import STREAM, stream_events
from api.responses import ERROR, answer_without_none, render, respond_accepted
from api.sdk_retries import Call, hashable_parameters, is_retry, prefers_async, retry_fingerprint
from api.sse import EventStreamResponse
from core import idempotency
from core.catalog import Model
from core.errors import IdempotencyConflict
from core.jobs import NewJob
from core.parameters import Operation
from core.priorities import among_projects
from core.requests.adaptation import adapt
from core.requests.inputs import Inputs
from core.requests.job import JobRequest, parse
from core.requests.openai import EditRequest, GenerateRequest, ImagesRequest, VariationRequest, job_request
from core.requests.plan import expected_seconds, find_model, plan
from core.responses.job import JobObject
from core.responses.openai import ImagesResponse
from core.rows import JobRow
from core.scopes import Scope
from core.status import JobStatus

router = APIRouter(prefix="/v1/images", tags=["images"])

RESPONSES: dict[int | str, dict[str, Any]] = {
    202: {"model": JobObject, "description": "The job, if `Prefer: respond-async` was sent."},
    409: ERROR | {"description": "Another request with this Idempotency-Key is in progress."},
    422: ERROR | {"description": "This Idempotency-Key was used with a different request."},
    **dict.fromkeys((400, 404, 413, 429, 500, 503, 504), ERROR),
}
STREAM_RESPONSES = RESPONSES | {200: {"content": STREAM}}
CLIENT_CLOSED_REQUEST = 499
"""The status in the log of a call whose client disconnected; nobody receives it."""


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
    new_request = adapt(job_request(parameters, operation), context.catalog, context.settings)
    call = _ImagesCall(request, context, caller, parameters, new_request, key)
    job, headers = await call.submit_or_resume()
    headers |= warnings_header(job.warnings)
    if prefers_async(request.headers):
        headers["preference-applied"] = "respond-async"
        return respond_accepted(render(context, job).model_dump_json(), job.id, headers)
    headers["x-safelight-job"] = job.id
    if parameters.streams:
        return EventStreamResponse(call.stream(job), headers=headers)
    images = await call.wait(job)
    if images is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    response = render_images(images)
    response.headers.update(headers | warnings_header([item.model_dump() for item in images.warnings or ()]))
    return response


@dataclass(frozen=True, slots=True)
class _ImagesCall:
    """One call of a client: its parameters, and the job request that they make."""

    http: Request
    context: Context
    caller: Caller
    parameters: ImagesRequest
    job: JobRequest
    key: str | None

    @property
    def project_id(self) -> str:
        """The project of the caller."""
        return self.caller.project_id

    async def submit_or_resume(self) -> tuple[JobRow, dict[str, str]]:
        """The job of this call, new or of an earlier attempt, and the headers that say which. Raises QueueFull."""
        model = find_model(self.job, self.context.catalog)
        if self.key is not None:
            return await self._submit_with_key(model, idempotency.check(self.key))
        if is_retry(self.http.headers):
            earlier_job = await self.context.sync_calls.resume(self.project_id, self._fingerprint())
            if earlier_job is not None:
                return earlier_job, {}
        async with self._slot(model):
            return await submit_job(self.context, *await self._plan()), {}

    def _slot(self, model: Model) -> AbstractAsyncContextManager[None]:
        """A slot in the queue, unless the client does not wait. Raises InvalidParameter."""
        if prefers_async(self.http.headers):
            return nullcontext()
        priority = among_projects(self.job.priority, self.context.settings.max_priority)
        cost = expected_seconds(self.job, model)
        return self.context.sync_calls.slot(model.queue, self.project_id, priority, cost)

    async def _submit_with_key(self, model: Model, key: str) -> tuple[JobRow, dict[str, str]]:
        """The job of the first call with this key.

        Raises IdempotencyMismatch, IdempotencyConflict, and NotFound if the job has been deleted.
        """
        context, project_id = self.context, self.project_id
        fingerprint = idempotency.fingerprint(self.http.url.path, hashable_parameters(self.parameters))
        response = await lookup(context, project_id, key, fingerprint)
        if response is None:
            async with self._slot(model):
                job, inputs = await self._plan()
                is_new = await submit_with_key(
                    context, job, inputs, key, fingerprint, lambda row: json.dumps({"id": row.id})
                )
            if is_new:
                return await job_row(context, project_id, job.id), {}
            response = await lookup(context, project_id, key, fingerprint)
        if response is None:
            raise IdempotencyConflict
        return await job_row(context, project_id, response["id"]), dict(REPLAY_HEADERS)

    async def _plan(self) -> tuple[NewJob, Inputs]:
        inputs = await read_inputs(self.context, self.project_id, self.job)
        settings, catalog = self.context.settings, self.context.catalog
        return plan(
            self.job, catalog, settings, self.project_id, inputs=inputs.ids, api_key_id=self.caller.key_id
        ), inputs

    def _fingerprint(self) -> bytes:
        return retry_fingerprint(self.http.headers, self.http.url.path, self.parameters)

    def _track(self, job: JobRow) -> AbstractAsyncContextManager[Call]:
        """A call with a key is not tracked: its client may come back at any time, so the job continues."""
        if self.key is not None:
            return nullcontext(Call())
        return self.context.sync_calls.track(self.project_id, self._fingerprint(), job.id)

    async def wait(self, job: JobRow) -> ImagesResponse | None:
        """The images of the job. None if the client disconnects. Raises why there are no images."""
        async with self._track(job) as call:
            row = await wait_until_final_or_disconnected(self.http, self.context, self.project_id, job.id)
            if row is None:
                return None
            if row.status != JobStatus.COMPLETED:
                raise failure(self.context, row)
            parameters = self.parameters
            images = await images_response(self.context, row, parameters.image_format, parameters.end_user)
            call.is_answered = True
            return images

    async def stream(self, job: JobRow) -> AsyncGenerator[bytes, None]:
        """The events of the job, encoded as server-sent events."""
        async with self._track(job) as call:
            async for event in stream_events(self.context, self.project_id, job, self.parameters.end_user):
                yield event
            call.is_answered = True
