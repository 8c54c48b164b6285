"""The responses of OpenAI's images calls, also for the lines of a batch."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.parameters.job import OutputFormat
from core.responses.job import JobWarning
from core.rows.job import JobRow


class ImageData(BaseModel):
    """An image in OpenAI's format: `url` or `b64_json`, never both. What has no value is absent, not null."""

    url: str | None = None
    b64_json: str | None = None
    seed: int


class InputTokens(BaseModel):
    """The input tokens by type."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """Tokens that the provider counts and bills. All zero for local models."""

    model_config = ConfigDict(extra="ignore")

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: InputTokens = Field(default_factory=InputTokens)


class ImagesResponse(BaseModel):
    """OpenAI's response, with the additional fields `job_id` and `seed`."""

    created: int
    data: list[ImageData]
    background: Literal["opaque", "transparent"] = "opaque"
    output_format: OutputFormat
    quality: str | None = Field(None, description="Quality according to the provider. Absent for local models.")
    size: str
    usage: Usage
    safety_identifier: str | None = None
    job_id: str
    warnings: list[JobWarning] | None = Field(
        None, description="What of the request is not honoured in full; absent if there is nothing."
    )


def images_response(row: JobRow, data: Sequence[ImageData], usage: Usage, end_user: str | None) -> ImagesResponse:
    """The response to a call whose job is completed with the images `data`."""
    return ImagesResponse(
        created=int(row.created_at.timestamp()),
        data=list(data),
        background=background(row.images[0]),
        output_format=output_format(row.images[0]),
        quality=quality(row.images[0]),
        size=dimensions(row.images[0]),
        usage=usage,
        safety_identifier=end_user,
        job_id=row.id,
        warnings=[JobWarning.model_validate(item) for item in row.warnings] or None,
    )


def background(image: Mapping[str, Any]) -> Literal["opaque", "transparent"]:
    """The background of an image according to its provider; that of a local model is opaque."""
    return "transparent" if image["receipt"].get("background") == "transparent" else "opaque"


def output_format(image: Mapping[str, Any]) -> OutputFormat:
    """The format of a stored image: a PNG where the requested format could not be written."""
    name: OutputFormat = image["media_type"].removeprefix("image/")
    return name


def quality(image: Mapping[str, Any]) -> str | None:
    """The quality of an image according to its provider. None for a local model."""
    value = image["receipt"].get("quality")
    return value if isinstance(value, str) else None


def dimensions(image: Mapping[str, Any]) -> str:
    """`WIDTHxHEIGHT` of a stored image in pixels, after upscaling."""
    return f"{image['width']}x{image['height']}"
