"""`/sdapi/v1/txt2img` and `/sdapi/v1/img2img`."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.a1111.answers import ImagesAnswer
from api.a1111.errors import ERRORS
from api.a1111.generation import generate
from api.authentication import Caller, CurrentCaller, requires
from api.context import Context
from api.deps import AppContext, Body, body_up_to
from api.openai.bodies import as_json
from core.requests.job import parse
from core.requests.webui import Img2ImgRequest, Txt2ImgRequest
from core.scopes import Scope

router = APIRouter(prefix="/sdapi/v1", tags=["webui"])

THREAD_BYTES = 1_000_000
"""Bytes from which a body is parsed in a thread, so that other requests do not wait."""


def _body(content: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/txt2img",
    summary="Generate images from a prompt",
    response_model=ImagesAnswer,
    responses=ERRORS,
    openapi_extra=_body(as_json(Txt2ImgRequest)),
)
@requires(Scope.SUBMIT)
async def txt2img(request: Request, body: Body, context: AppContext, caller: CurrentCaller) -> Response:
    """Generate images from a prompt and wait for them. What cannot be honoured is a warning in `info`."""
    return await generate(request, context, caller, parse(Txt2ImgRequest, body), "txt2img")


@router.post(
    "/img2img",
    summary="Change an image",
    response_model=ImagesAnswer,
    responses=ERRORS,
    openapi_extra=_body(as_json(Img2ImgRequest)),
)
@requires(Scope.SUBMIT)
async def img2img(request: Request, context: AppContext, caller: CurrentCaller) -> Response:
    """Change an image as the prompt says, everywhere or where the mask is white, and wait for the result."""
    return await generate(request, context, caller, await _read(request, context, caller), "img2img")


async def _read(request: Request, context: Context, caller: Caller) -> Img2ImgRequest:
    body = await body_up_to(request, body_limit(context))
    if len(body) > THREAD_BYTES:
        return await context.threads.parsing.run(caller.project_id, parse, Img2ImgRequest, body)
    return parse(Img2ImgRequest, body)


def body_limit(context: Context) -> int:
    """Bytes of a JSON body with images: those of other bodies, and one image of the maximum size in base64."""
    return context.settings.max_body_bytes + 4 * context.settings.max_image_bytes // 3 + 4
