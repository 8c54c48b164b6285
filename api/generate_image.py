"""`POST /generate-image`: a minimal call, from `{"prompt"}` to `{"image_url"}`."""

from typing import Annotated, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.authentication import CurrentCaller, requires
from api.deps import AppContext, Body
from api.jobs.idempotency import Key
from api.openai.bodies import as_json
from api.openai.images import RESPONSES, generate_images
from api.responses import answer
from core.parameters.job import OutputFormat, Style
from core.requests.fields import MetadataValue
from core.requests.job import parse
from core.requests.openai import GenerateRequest, OpenAIQuality
from core.scopes import Scope
from core.text import Text

router = APIRouter(tags=["images"])


class PromptRequest(BaseModel):
    """A prompt. OpenAI's other parameters of a generation are optional."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"prompt": "A penguin on the beach"}]}
    )

    prompt: Text = Field(description="The content of the image.", json_schema_extra={"minLength": 1})
    model: str | None = Field(None, description="Name or alias of a model. Default: the catalogue's default model.")
    size: str | None = Field(None, description="As for `POST /v1/images/generations`, like the following ones.")
    quality: OpenAIQuality | None = None
    style: Style | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    moderation: Literal["low", "auto"] | None = None
    output_format: OutputFormat | None = None
    output_compression: Annotated[int, Ge(0), Le(100)] | None = None
    user: MetadataValue | None = None

    def as_generation(self) -> GenerateRequest:
        """The request for an image with a link."""
        return GenerateRequest.model_validate(self.model_dump(exclude_none=True) | {"response_format": "url"})


class ImageUrl(BaseModel):
    """The link of the image."""

    image_url: str = Field(description="A link that works without an API key until it expires.")
    job_id: str


@router.post(
    "/generate-image",
    summary="Generate one image and wait",
    response_model=ImageUrl,
    responses=RESPONSES,
    openapi_extra={"requestBody": {"required": True, "content": as_json(PromptRequest)}},
)
@requires(Scope.SUBMIT)
async def generate_image(
    request: Request, body: Body, context: AppContext, caller: CurrentCaller, idempotency_key: Key = None
) -> Response:
    """Generate one image and wait for it. Only `prompt` is required."""
    return await generate_images(
        request,
        context,
        caller,
        "generation",
        parse(PromptRequest, body).as_generation(),
        idempotency_key,
        render_images=lambda images: answer(ImageUrl(image_url=images.data[0].url or "", job_id=images.job_id)),
    )
