"""What OpenAI's images calls answer, as JSON, and as the body of a batch's line."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.parameters import OutputFormat
from core.rows import JobRow


class ImageData(BaseModel):
    """One image, in OpenAI's words."""

    url: str | None = None
    b64_json: str | None = None
    seed: int


class InputTokens(BaseModel):
    """What the input tokens stand for."""

    image_tokens: int = 0
    text_tokens: int = 0


class Usage(BaseModel):
    """Tokens, as the provider that drew counts and bills them. Images drawn here are not billed: all zero."""

    model_config = ConfigDict(extra="ignore")

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_tokens_details: InputTokens = Field(default_factory=InputTokens)


class ImagesResponse(BaseModel):
    """OpenAI's answer, with the job's id and each image's seed beside it."""

    created: int
    data: list[ImageData]
    background: Literal["opaque"] = "opaque"
    output_format: OutputFormat
    quality: str | None = Field(None, description="As the provider says; null where images are drawn here.")
    size: str
    usage: Usage
    safety_identifier: str | None = None
    job_id: str


def images_response(row: JobRow, data: Sequence[ImageData], usage: Usage, end_user: str | None) -> ImagesResponse:
    """The answer to a call whose job is done, its images being `data`."""
    return ImagesResponse(
        created=int(row.created_at.timestamp()),
        data=list(data),
        output_format=row.parameters.output_format,
        quality=quality(row.images[0]),
        size=dimensions(row.images[0]),
        usage=usage,
        safety_identifier=end_user,
        job_id=row.id,
    )


def quality(image: Mapping[str, Any]) -> str | None:
    """How carefully the provider that drew an image says it did; None of one that was drawn here."""
    said = image["receipt"].get("quality")
    return said if isinstance(said, str) else None


def dimensions(image: Mapping[str, Any]) -> str:
    """`WIDTHxHEIGHT` of a stored image, in pixels; what upscaling made of it."""
    return f"{image['width']}x{image['height']}"
