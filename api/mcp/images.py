"""The tools for images: `generate_image`, `edit_image` and `vary_image`. Each submits a job and waits for it."""

import json
from typing import Annotated, Any

import anyio
from annotated_types import MinLen
from pydantic import BaseModel, Field, StringConstraints

from api.errors import from_database_error
from api.fine_tuning.models import catalog_for
from api.inputs import read_inputs
from api.jobs.idempotency import lookup, submit_with_key
from api.jobs.routes import submit_job
from api.jobs.waiting import job_row
from api.mcp.jobs import MAX_WAIT_SECONDS, JobResult, WaitSeconds, answer_of, wait_or_cancel
from api.mcp.tool import Answer, Call, Tool
from core import generation_errors, idempotency
from core.db import UNAVAILABLE
from core.errors import IdempotencyConflict
from core.parameters.image_source import SOURCE_DESCRIPTION, source_of_text
from core.parameters.job import Operation
from core.requests.job import ImageParameters, JobRequest, validate
from core.requests.plan import find_model, plan
from core.rows.job import JobRow
from core.status import JobStatus
from core.text import Text

IdempotencyKey = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern="^[ -~]+$")]
KEY_DESCRIPTION = (
    "A text of your choice, new for each request. If you send the same call with the same key again, for example after "
    "a lost connection, you get the first result, and nothing is generated twice."
)
Source = Annotated[str, MinLen(1)]


class SubmitOptions(BaseModel):
    """What a call may set beside the parameters of its images."""

    idempotency_key: IdempotencyKey | None = Field(None, description=KEY_DESCRIPTION)
    wait_seconds: WaitSeconds = Field(
        MAX_WAIT_SECONDS,
        description="How long to wait for the images. After this time the id of the job is returned, which continues.",
    )


class GenerateArguments(SubmitOptions, ImageParameters):
    """The arguments of `generate_image`."""

    prompt: Text = Field(description="What the image shows.", json_schema_extra={"minLength": 1})


class EditArguments(GenerateArguments):
    """The arguments of `edit_image`."""

    prompt: Text = Field(
        description="What the image shows after the edit: all of it, not only what changes.",
        json_schema_extra={"minLength": 1},
    )
    image: Source = Field(description=f"The image to change: {SOURCE_DESCRIPTION}")
    mask: Source | None = Field(
        None,
        description="The area to change, an image of the same size: its transparent pixels or, if it is opaque, its "
        "white ones. As `image`. Default: the transparent pixels of `image`, or all of it if it has none.",
    )


class VaryArguments(SubmitOptions, ImageParameters):
    """The arguments of `vary_image`."""

    image: Source = Field(description=f"The image to vary: {SOURCE_DESCRIPTION}")


async def generate_image(call: Call, arguments: GenerateArguments) -> Answer:
    """The tool `generate_image`."""
    return await _generate(call, "generation", arguments)


async def edit_image(call: Call, arguments: EditArguments) -> Answer:
    """The tool `edit_image`."""
    return await _generate(call, "edit", arguments)


async def vary_image(call: Call, arguments: VaryArguments) -> Answer:
    """The tool `vary_image`."""
    return await _generate(call, "variation", arguments)


async def _generate(call: Call, operation: Operation, arguments: GenerateArguments | VaryArguments) -> Answer:
    """Submit a job and wait for it. Raises why it has no images."""
    request = _job_request(operation, arguments)
    with anyio.CancelScope(shield=True):  # a cancel has to know whether there is a job
        row = await _submit(call, request, arguments.idempotency_key)
    try:
        await wait_or_cancel(call, row, arguments.wait_seconds)
        answer = await answer_of(call, row.id)
    except UNAVAILABLE as cause:
        error = from_database_error(cause)
        # With the id of the job, which continues: without it, an agent would generate the images again.
        error.message += f" The job {row.id} continues: call job_status with it, and do not generate it again."
        raise error from cause
    if isinstance(answer.result, JobResult) and (failure := _failure(answer.result)) is not None:
        raise failure
    return answer


def _failure(job: JobResult) -> Exception | None:
    """Why a final job has no images."""
    if job.error is not None:
        return generation_errors.failure(job.error.code, f"{job.error.message} (job {job.job_id})")
    if job.status.is_final and job.status is not JobStatus.COMPLETED:
        advice = "To generate the images all the same, call again, with another idempotency_key if you set one."
        return generation_errors.GenerationError(f"The job {job.job_id} was {job.status}. {advice}")
    return None


def _job_request(operation: Operation, arguments: BaseModel) -> JobRequest:
    """The request for a job. Raises InvalidParameter."""
    values: dict[str, Any] = {
        name: getattr(arguments, name) for name in arguments.model_fields_set & JobRequest.model_fields.keys()
    }
    for name in ("image", "mask"):
        if values.get(name) is not None:
            values[name] = source_of_text(name, values[name])
    return validate(JobRequest, {"operation": operation} | values)


async def _submit(call: Call, request: JobRequest, key: str | None) -> JobRow:
    """The job of a request, new or of an earlier call with the key.

    Raises InvalidRequest, IdempotencyMismatch, IdempotencyConflict, and NotFound if that job has been deleted.
    """
    context, project_id = call.context, call.project_id
    catalog = await catalog_for(context, project_id, request)
    find_model(request, catalog)
    fingerprint = b""
    if key is not None:
        fingerprint = idempotency.fingerprint("/mcp", request.model_dump(exclude_unset=True))
        if (earlier := await lookup(context, project_id, key, fingerprint)) is not None:
            return await job_row(context, project_id, earlier["id"])
    inputs = await read_inputs(context, project_id, request)
    job = plan(request, catalog, context.settings, project_id, inputs=inputs.ids, api_key_id=call.caller.key_id)
    if key is None:
        return await submit_job(context, job, inputs)
    if await submit_with_key(context, job, inputs, key, fingerprint, lambda row: json.dumps({"id": row.id})):
        return await job_row(context, project_id, job.id)
    if (earlier := await lookup(context, project_id, key, fingerprint)) is None:
        raise IdempotencyConflict
    return await job_row(context, project_id, earlier["id"])


RESULT = (
    "Returns the images and a link to each; if that takes longer than wait_seconds, the id of the job: then call "
    "job_status. An argument that the model does not support is an error that names the allowed values."
)
HIDDEN = frozenset({"partial_images"})

GENERATE_IMAGE = Tool(
    name="generate_image",
    title="Generate images",
    description=f"Generate images from a prompt. {RESULT}",
    arguments=GenerateArguments,
    result=JobResult,
    run=generate_image,
    operation="generation",
    hidden=HIDDEN,
    is_submission=True,
)
EDIT_IMAGE = Tool(
    name="edit_image",
    title="Edit an image",
    description=f"Change an image as a prompt describes it, all of it or only the area of a mask. {RESULT}",
    arguments=EditArguments,
    result=JobResult,
    run=edit_image,
    operation="edit",
    hidden=HIDDEN,
    is_submission=True,
)
VARY_IMAGE = Tool(
    name="vary_image",
    title="Vary an image",
    description=f"Generate images that resemble an image. {RESULT}",
    arguments=VaryArguments,
    result=JobResult,
    run=vary_image,
    operation="variation",
    hidden=HIDDEN | {"prompt"},
    is_submission=True,
)
