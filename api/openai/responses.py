"""Responses of OpenAI's images calls: the images, their usage, or the error."""

import base64
from collections.abc import Iterable, Mapping
from typing import Any

from api.context import Context
from api.responses import render
from core import generation_errors, provider_calls
from core.errors import RequestTimeout
from core.generation_errors import GenerationError
from core.responses import openai
from core.responses.openai import ImageData, ImagesResponse, Usage
from core.rows.job import JobRow

WARNINGS = "x-safelight-warnings"
"""The header that says what of a request is not honoured in full."""

MAX_HEADER_CHARS = 1000


async def images_response(context: Context, row: JobRow, response_format: str, end_user: str | None) -> ImagesResponse:
    """The images of a completed job."""
    data = [await _data(context, image, response_format) for image in row.images]
    return openai.images_response(row, data, await usage_of(context, row), end_user)


async def _data(context: Context, image: Mapping[str, Any], response_format: str) -> ImageData:
    if response_format == "url":
        return ImageData(url=context.storage.url(image["id"], image["storage_key"]), seed=image["seed"])
    return ImageData(b64_json=await image_base64(context, image), seed=image["seed"])


async def image_base64(context: Context, image: Mapping[str, Any]) -> str:
    """A stored image in base64."""
    return base64.b64encode(await context.storage.get_async(image["storage_key"])).decode()


async def usage_of(context: Context, row: JobRow) -> Usage:
    """The tokens that a job used; zeros for local models."""
    if not any(model.is_remote for model in context.catalog.models if model.id == row.model):
        return Usage()
    rows = await context.database.execute(provider_calls.usage(row.id))
    return Usage.model_validate(rows[0].usage) if rows else Usage()


def warnings_header(warnings: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The header with a job's warnings, or none without any: ASCII, at most MAX_HEADER_CHARS."""
    text = "; ".join(" ".join(str(item["message"]).split()) for item in warnings)
    if not text:
        return {}
    text = "".join(character if " " <= character <= "~" else "?" for character in text)
    return {WARNINGS: text if len(text) <= MAX_HEADER_CHARS else text[: MAX_HEADER_CHARS - 3] + "..."}


def failure(context: Context, row: JobRow) -> Exception:
    """The error of a call whose job has no images."""
    job = render(context, row)
    if job.error is not None:
        return generation_errors.failure(job.error.code, f"{job.error.message} (job {job.id})")
    if job.status.is_final:
        return GenerationError(f"The job {job.id} was {job.status}.")
    return RequestTimeout(f"The image was not ready in time; fetch it later as {job.urls.self}.")
