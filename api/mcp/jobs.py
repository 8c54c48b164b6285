"""The tools for jobs: `job_status` and `cancel_job`; and how the tools for images wait for a job."""

import asyncio
from typing import Annotated, Literal

import anyio
from annotated_types import Ge, Le, MaxLen
from pydantic import BaseModel, ConfigDict, Field

from api.batches.routes import batch_row
from api.jobs.waiting import follow, job_row
from api.mcp.content import contents_of
from api.mcp.tool import Answer, Call, CallCancelled, Tool
from api.responses import render
from core import jobs
from core.batches import transitions as batches
from core.errors import NotFound
from core.responses.job import JobError, JobWarning, StepProgress
from core.rows.job import JobEventRow, JobRow
from core.status import BatchStatus, JobStatus
from core.telemetry.job_metrics import record_ends
from core.text import Text, quote

MAX_WAIT_SECONDS = 50
"""Many clients give up after 60 seconds."""

WaitSeconds = Annotated[float, Ge(0), Le(MAX_WAIT_SECONDS)]
SubjectId = Annotated[Text, MaxLen(100)]
"""The id of a job or batch."""


class JobImage(BaseModel):
    """An image of a job."""

    image_id: str = Field(description="Pass it as `image` to edit_image or vary_image.")
    url: str = Field(description="Link for people. It opens without an API key until it expires.")
    media_type: str
    width: int
    height: int
    bytes: int
    seed: int = Field(description="The same seed with the same arguments gives the same image.")


class JobResult(BaseModel):
    """A job, and its images when it is completed."""

    job_id: str
    status: JobStatus
    model: str
    prompt: str
    images: list[JobImage]
    warnings: list[JobWarning] = Field(description="What of the request was not honoured in full; usually empty.")
    error: JobError | None = Field(None, description="Why the job failed.")
    progress: StepProgress | None = Field(None, description="The current denoising step.")
    queue_position: int | None = Field(None, description="Number of jobs before this one.")
    next_step: str | None = Field(None, description="What to do next.")


class JobArguments(BaseModel):
    """The arguments of `job_status`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    job_id: SubjectId = Field(description="Id of a job, as generate_image returned it: `job_...`.")
    wait_seconds: WaitSeconds = Field(
        0, description="Wait so long for the images; 0 returns at once. The result comes earlier if the job finishes."
    )


class CancelArguments(BaseModel):
    """The arguments of `cancel_job`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: SubjectId = Field(description="Id of a job, `job_...`, or of a batch, `batch_...`.")


class Cancellation(BaseModel):
    """A job or a batch after its cancellation."""

    id: str
    object: Literal["job", "batch"]
    status: JobStatus | BatchStatus = Field(
        description="`in_progress` or `cancelling`: it stops within seconds. A finished one is unchanged."
    )


async def job_status(call: Call, arguments: JobArguments) -> Answer:
    """The tool `job_status`. Raises NotFound."""
    check_prefix(arguments.job_id, "job", "batch_status")
    row = await job_row(call.context, call.project_id, arguments.job_id)
    if arguments.wait_seconds:
        await _wait(call, row, arguments.wait_seconds)
    return await answer_of(call, row.id)


async def cancel_job(call: Call, arguments: CancelArguments) -> Answer:
    """The tool `cancel_job`. Raises NotFound."""
    context, project_id, subject_id = call.context, call.project_id, arguments.id
    if subject_id.startswith("batch_"):
        if await context.database.execute(batches.cancel(project_id, subject_id)):
            await context.listener.publish_change(subject_id)
        batch = await batch_row(context, project_id, subject_id)
        return Answer(Cancellation(id=subject_id, object="batch", status=BatchStatus(batch.status)))
    await _cancel(call, subject_id)
    row = await job_row(context, project_id, subject_id)
    return Answer(Cancellation(id=subject_id, object="job", status=JobStatus(row.status)))


async def wait_or_cancel(call: Call, row: JobRow, max_seconds: float) -> None:
    """Wait until a job that this call submitted is final, for max_seconds at most.

    If the client cancels the call meanwhile, the job is cancelled. Raises CallCancelled.
    """
    try:
        await _wait(call, row, max_seconds)
    except CallCancelled:
        await _cancel(call, row.id)
        raise
    except asyncio.CancelledError:
        if call.is_abandoned:
            with anyio.CancelScope(shield=True):
                await _cancel(call, row.id)
        raise


async def answer_of(call: Call, job_id: str) -> Answer:
    """A job as a result: with its images if it is completed. Raises NotFound."""
    row = await job_row(call.context, call.project_id, job_id)
    is_running = row.status == JobStatus.IN_PROGRESS
    job = render(call.context, row, await call.context.listener.step(job_id) if is_running else None)
    result = JobResult(
        job_id=job.id,
        status=job.status,
        model=job.model,
        prompt=job.prompt,
        images=[
            JobImage(image_id=image.id, **image.model_dump(include=JobImage.model_fields.keys() - {"image_id"}))
            for image in job.images
        ],
        warnings=job.warnings,
        error=job.error,
        progress=job.progress,
        queue_position=job.queue_position,
        next_step=_next_step(job.status, job_id),
    )
    return Answer(result, await contents_of(call, row) if job.status is JobStatus.COMPLETED else ())


def check_prefix(subject_id: str, kind: str, other_tool: str) -> None:
    """Raise NotFound, with the tool to call instead, for the id of a job or batch at the wrong tool."""
    other = {"job": "batch", "batch": "job"}[kind]
    if subject_id.startswith(f"{other}_"):
        message = f"{quote(subject_id)} is the id of a {other}: call {other_tool} with {other}_id."
        raise NotFound(message, param=f"{kind}_id")


def _next_step(status: JobStatus, job_id: str) -> str | None:
    if not status.is_final:
        return (
            f"The job continues. Call job_status with job_id {job_id} and wait_seconds {MAX_WAIT_SECONDS} to get the "
            "images, or cancel_job to stop it. Do not generate it again."
        )
    return None if status is JobStatus.COMPLETED else "There are no images. Generate them with a new call."


async def _cancel(call: Call, job_id: str) -> None:
    """Cancel a job of the caller, if there is one that is not final."""
    if record_ends(await call.context.database.execute(jobs.cancel(call.project_id, job_id))):
        await call.context.listener.publish_change(job_id)


async def _wait(call: Call, row: JobRow, max_seconds: float) -> None:
    if not JobStatus(row.status).is_final:
        await call.wait(_report_until_final(call, row.id), max_seconds)


async def _report_until_final(call: Call, job_id: str) -> None:
    """Report a job's steps until it is final."""
    await call.report(0, None, f"{job_id} is submitted")
    async for item in follow(call.context, job_id, 0):
        if not isinstance(item, JobEventRow) and item["type"] == "progress":
            await call.report(item["step"], item["steps"], f"step {item['step']} of {item['steps']}")


JOB_STATUS = Tool(
    name="job_status",
    title="Get a job",
    description="Get the status of a job and, if it is completed, its images. Call it for a job that continues after "
    "generate_image, edit_image or vary_image returned.",
    arguments=JobArguments,
    result=JobResult,
    run=job_status,
    is_read_only=True,
)
CANCEL_JOB = Tool(
    name="cancel_job",
    title="Cancel a job or a batch",
    description="Stop a job that is queued or running, or a batch with all its jobs. What is finished is not changed.",
    arguments=CancelArguments,
    result=Cancellation,
    run=cancel_job,
    is_destructive=True,
    is_idempotent=True,
)
