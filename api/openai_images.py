"""OpenAI's synchronous images call: a job that is waited for. `client.images.generate(...)` of the SDKs works."""

import base64
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from api.context import Context
from api.deps import Body, Parts, Project
from api.jobs import ERROR, answer, render
from api.waiting import job_row, until_final
from core.errors import GenerationError, InvalidParameter, RequestTimeout
from core.requests import JobRequest, MetadataValue, OutputFormat, parse, plan
from core.schemas import JobObject
from core.status import JobStatus

router = APIRouter(prefix="/v1/images", tags=["images"])


class GenerateRequest(JobRequest):
    """OpenAI's parameters that a local model can honour, and Safelight's own beside them."""

    response_format: Literal["url", "b64_json"] = Field("url", description="A link, or the bytes in base 64.")
    user: MetadataValue | None = Field(
        None, description="Your name for the end user; kept in the job's metadata as `user`."
    )


class ImageData(BaseModel):
    """One picture, in OpenAI's words."""

    url: str | None = None
    b64_json: str | None = None
    seed: int


class ImagesResponse(BaseModel):
    """OpenAI's answer, with the job's id and each picture's seed beside it."""

    created: int
    data: list[ImageData]
    size: str
    output_format: OutputFormat
    job_id: str


@router.post(
    "/generations",
    summary="Draw and wait (OpenAI's call)",
    response_model=ImagesResponse,
    responses={400: ERROR, 413: ERROR, 500: ERROR, 503: ERROR, 504: ERROR},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": GenerateRequest.model_json_schema()}},
        }
    },
)
async def generate(body: Body, parts: Parts, project_id: Project) -> Response:
    """Draw pictures and wait for them."""
    wanted = parse(GenerateRequest, body)
    if wanted.dry_run:
        raise InvalidParameter("dry_run is for POST /v1/jobs; this call draws.", param="dry_run")
    if wanted.user is not None:
        wanted.metadata.setdefault("user", wanted.user)
    job = plan(wanted, parts.catalog, parts.settings, project_id)
    await parts.submission.submit(job)
    parts.doorbell.ring(job.queue)
    await until_final(parts, project_id, job.id, parts.settings.sync_timeout.total_seconds())
    row = await job_row(parts, project_id, job.id)
    if row.status != JobStatus.COMPLETED:
        raise _failure(render(parts, row))
    data = [await _data(parts, image, wanted.response_format) for image in row.images]
    created = int(row.created_at.timestamp())
    return answer(
        ImagesResponse(created=created, data=data, size=row.size, output_format=wanted.output_format, job_id=row.id),
        headers={"x-safelight-job": row.id},
    )


async def _data(parts: Context, image: Mapping[str, Any], response_format: str) -> ImageData:
    if response_format == "url":
        return ImageData(url=parts.storage.url(image["id"], image["storage_key"]), seed=image["seed"])
    content = b"".join([chunk async for chunk in await parts.storage.read(image["storage_key"])])
    return ImageData(b64_json=base64.b64encode(content).decode(), seed=image["seed"])


def _failure(job: JobObject) -> Exception:
    """Why a job brought no pictures, as an error of the call."""
    if job.error is not None:
        failure = GenerationError(f"{job.error.message} (job {job.id})")
        failure.code = job.error.code
        return failure
    if job.status.is_final:
        return GenerationError(f"The job {job.id} was {job.status}.")
    return RequestTimeout(f"The picture was not ready in time; fetch it later as {job.urls.self}.")
