"""What OpenAI's images calls answer with, streamed or not: the pictures, their usage, or why there are none."""

import base64
from collections.abc import Mapping
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field

from api.context import Context
from api.jobs import render
from core import provider_calls
from core.errors import GenerationError, RequestTimeout
from core.requests import OutputFormat


class ImageData(BaseModel):
    """One picture, in OpenAI's words."""

    url: str | None = None
    b64_json: str | None = None
    seed: int


class InputTokens(BaseModel):
    """What the input tokens stand for."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """Tokens, as the provider that drew counts and bills them. Pictures drawn here are not billed: all zero."""

    model_config = ConfigDict(extra="ignore")

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: InputTokens = Field(default_factory=InputTokens)


class ImagesResponse(BaseModel):
    """OpenAI's answer, with the job's id and each picture's seed beside it."""

    created: int
    data: list[ImageData]
    background: Literal["opaque"] = "opaque"
    output_format: OutputFormat
    size: str
    usage: Usage
    safety_identifier: str | None = None
    job_id: str


async def images_response(
    parts: Context, row: sa.Row[Any], response_format: str, end_user: str | None
) -> ImagesResponse:
    """The pictures of a completed job."""
    return ImagesResponse(
        created=int(row.created_at.timestamp()),
        data=[await _data(parts, image, response_format) for image in row.images],
        output_format=row.output_format,
        size=dimensions(row.images[0]),
        usage=await usage_of(parts, row),
        safety_identifier=end_user,
        job_id=row.id,
    )


async def _data(parts: Context, image: Mapping[str, Any], response_format: str) -> ImageData:
    if response_format == "url":
        return ImageData(url=parts.storage.url(image["id"], image["storage_key"]), seed=image["seed"])
    content = await parts.storage.fetch(image["storage_key"])
    return ImageData(b64_json=base64.b64encode(content).decode(), seed=image["seed"])


def dimensions(image: Mapping[str, Any]) -> str:
    """`WIDTHxHEIGHT` of a stored picture, in pixels; what upscaling made of it."""
    return f"{image['width']}x{image['height']}"


async def usage_of(parts: Context, row: sa.Row[Any]) -> Usage:
    """What a job's pictures used."""
    if not any(model.is_remote for model in parts.catalog.models if model.id == row.model):
        return Usage()
    counted = await parts.database.execute(provider_calls.usage(row.id))
    return Usage.model_validate(counted[0].usage) if counted else Usage()


def failure(parts: Context, row: sa.Row[Any]) -> Exception:
    """Why a job brought no pictures, as an error of the call."""
    job = render(parts, row)
    if job.error is not None:
        failed = GenerationError(f"{job.error.message} (job {job.id})")
        failed.code = job.error.code
        return failed
    if job.status.is_final:
        return GenerationError(f"The job {job.id} was {job.status}.")
    return RequestTimeout(f"The picture was not ready in time; fetch it later as {job.urls.self}.")
