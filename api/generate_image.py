"""`POST /generate-image`: a minimal call, from `{"prompt"}` to `{"image_url"}`."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.authentication import CurrentCaller, requires
from api.deps import AppContext, Body
from api.jobs.idempotency import Key
from api.openai.bodies import as_json
from api.openai.images import RESPONSES, generate_images
from api.responses import answer
from core.requests.job import parse
from core.requests.openai import GenerateRequest
from core.scopes import Scope
from core.text import Text

router = APIRouter(tags=["images"])


class PromptRequest(BaseModel):
    """One image of the default model."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"prompt": "A penguin on the beach"}]}
    )

    prompt: Text = Field(description="The content of the image.", json_schema_extra={"minLength": 1})


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
    """Generate one image with the default model and its default parameters, and wait for it."""
    return await generate_images(
        request,
        context,
        caller,
        "generation",
        GenerateRequest(prompt=parse(PromptRequest, body).prompt),
        idempotency_key,
        render_images=lambda images: answer(ImageUrl(image_url=images.data[0].url or "", job_id=images.job_id)),
    )
