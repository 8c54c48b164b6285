"""`POST /generate-image`: the smallest client there can be. `{"prompt"}` goes in, `{"image_url"}` comes out."""

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.deps import AppContext, Body, Project
from api.jobs.idempotency import Key
from api.openai.bodies import as_json
from api.openai.images import RESPONSES, draw
from api.responses import answer
from core.requests.job import parse
from core.requests.openai import GenerateRequest
from core.text import Text

router = APIRouter(tags=["images"])


class PromptRequest(BaseModel):
    """One image of the default model."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"prompt": "A penguin on the beach"}]}
    )

    prompt: Text = Field(description="What to draw.", json_schema_extra={"minLength": 1})


class ImageUrl(BaseModel):
    """Where the image is."""

    image_url: str = Field(description="Works without a key until it expires.")
    job_id: str


@router.post(
    "/generate-image",
    summary="Draw one image and wait",
    response_model=ImageUrl,
    responses=RESPONSES,
    openapi_extra={"requestBody": {"required": True, "content": as_json(PromptRequest)}},
)
async def generate_image(
    request: Request, body: Body, context: AppContext, project_id: Project, idempotency_key: Key = None
) -> Response:
    """Draw one image with the default model and all its defaults, wait for it, and say where it is."""
    wanted = GenerateRequest(prompt=parse(PromptRequest, body).prompt)
    return await draw(
        request,
        context,
        project_id,
        "generation",
        wanted,
        idempotency_key,
        told=lambda drawn: answer(ImageUrl(image_url=drawn.data[0].url or "", job_id=drawn.job_id)),
    )
