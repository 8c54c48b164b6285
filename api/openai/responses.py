"""What OpenAI's images calls answer with, streamed or not: the pictures, their usage, or why there are none."""

import base64
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from api.context import Context
from api.responses import render
from core import provider_calls
from core.errors import GenerationError, RequestTimeout
from core.responses import openai
from core.responses.openai import ImageData, ImagesResponse, Usage


async def images_response(
    parts: Context, row: sa.Row[Any], response_format: str, end_user: str | None
) -> ImagesResponse:
    """The pictures of a completed job."""
    data = [await _data(parts, image, response_format) for image in row.images]
    return openai.images_response(row, data, await usage_of(parts, row), end_user)


async def _data(parts: Context, image: Mapping[str, Any], response_format: str) -> ImageData:
    if response_format == "url":
        return ImageData(url=parts.storage.url(image["id"], image["storage_key"]), seed=image["seed"])
    content = await parts.storage.fetch(image["storage_key"])
    return ImageData(b64_json=base64.b64encode(content).decode(), seed=image["seed"])


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
