"""`/sdapi/v1/extra-single-image`, `extra-batch-images` and `png-info`: images are enlarged or read, without a job.

A decoder process does the work (`core/images/decoders.py`): its time and memory are limited, and projects share it.
Nothing is stored.
"""

import base64
from collections.abc import Iterator
from html import escape
from typing import Annotated, Any

from annotated_types import Ge, Le, MaxLen, MinLen
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.a1111.errors import ERRORS
from api.a1111.generation import decode_image, with_warnings
from api.a1111.images import body_limit
from api.a1111.lists import UPSCALERS
from api.authentication import Caller, CurrentCaller, requires
from api.context import Context
from api.deps import AppContext, body_up_to
from api.openai.bodies import as_json
from api.responses import answer
from core.images.file_texts import INFOTEXT
from core.images.postprocess import MAX_SIDE_PX
from core.images.resizing import Enlargement
from core.job_warnings import JobWarning
from core.parameters.infotext import parse as parse_infotext
from core.requests.job import parse
from core.requests.openai import warning
from core.requests.webui import EXAMPLE_IMAGE, Base64, Share, Side, Switch, integer, number
from core.scopes import Scope
from core.text import Text, quote

router = APIRouter(prefix="/sdapi/v1", tags=["webui"])

MAX_IMAGES = 16

MAX_RESULT_BYTES = 100_000_000
"""Bytes of all PNGs of an answer, which are in memory three times. One of the maximum size may have 67 MB."""


class EnlargeRequest(BaseModel):
    """How images are enlarged."""

    model_config = ConfigDict(extra="allow", strict=True)

    resize_mode: Annotated[int, Ge(0), Le(1), integer(0, 1)] = Field(0, description="0: by a factor, 1: to a size.")
    upscaling_resize: Annotated[float, Ge(0.01), Le(100), number(0.01, 100)] = Field(2.0, description="The factor.")
    upscaling_resize_w: Side = Field(512, description="Width in pixels.")
    upscaling_resize_h: Side = Field(512, description="Height in pixels.")
    upscaling_crop: Switch = Field(True, description="Crop the image to the size, around its centre.")
    upscaler_1: Text = Field("None", description="A name of `/sdapi/v1/upscalers`.")
    upscaler_2: Text = Field("None", description="Not used.")
    gfpgan_visibility: Share = Field(0, description="Not used.")
    codeformer_visibility: Share = Field(0, description="Not used.")

    def options(self) -> Enlargement:
        """The call of the decoder process."""
        return Enlargement(
            factor=self.upscaling_resize,
            is_nearest=self.upscaler_1 == "Nearest",
            size=(self.upscaling_resize_w, self.upscaling_resize_h) if self.resize_mode else None,
            is_cropped=self.upscaling_crop,
            max_side=MAX_SIDE_PX,
            max_bytes=MAX_RESULT_BYTES,
        )

    def warnings(self) -> Iterator[JobWarning]:
        """What is not honoured."""
        if self.upscaler_1 not in UPSCALERS:
            message = f"upscaler_1 {quote(self.upscaler_1)} is not known: Lanczos is used."
            yield warning("upscaler_1", message)
        if self.upscaler_2 != "None":
            yield warning("upscaler_2", "upscaler_2 is not used: there is one upscaler.")
        for name in ("gfpgan_visibility", "codeformer_visibility"):
            if getattr(self, name):
                yield warning(name, f"{name} is not used: there is no restoration of faces.")


class SingleImageRequest(EnlargeRequest):
    """An image to enlarge."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE, "upscaling_resize": 2}]})

    image: Base64 = Field(description="The image, in base64 or as a data URL.")


class FileData(BaseModel):
    """A file of `extra-batch-images`."""

    model_config = ConfigDict(extra="allow", strict=True)

    data: Base64
    name: Text = ""


class BatchImagesRequest(EnlargeRequest):
    """Images to enlarge."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"imageList": [{"data": EXAMPLE_IMAGE, "name": "a.png"}]}]}
    )

    imageList: Annotated[list[FileData], MinLen(1), MaxLen(MAX_IMAGES)]


class SingleImageAnswer(BaseModel):
    """The enlarged image as PNG in base64, and what of the request is not honoured."""

    image: str
    html_info: str


class BatchImagesAnswer(BaseModel):
    """The enlarged images as PNG in base64, and what of the request is not honoured."""

    images: list[str]
    html_info: str


class PngInfoRequest(BaseModel):
    """An image file."""

    model_config = ConfigDict(extra="allow", strict=True, json_schema_extra={"examples": [{"image": EXAMPLE_IMAGE}]})

    image: Base64 = Field(description="The file, in base64 or as a data URL.")


class PngInfoAnswer(BaseModel):
    """The texts of an image file."""

    info: str = Field(description="The infotext; empty without one.")
    items: dict[str, str] = Field(description="The other texts.")
    parameters: dict[str, str] = Field(description="The fields of the infotext.")


def _body(kind: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": as_json(kind)}}


@router.post(
    "/extra-single-image",
    summary="Enlarge an image",
    response_model=SingleImageAnswer,
    responses=ERRORS,
    openapi_extra=_body(SingleImageRequest),
)
@requires(Scope.SUBMIT)
async def extra_single_image(request: Request, context: AppContext, caller: CurrentCaller) -> Response:
    """Enlarge an image. No side of the result is longer than 4096 px."""
    parameters = parse(SingleImageRequest, await body_up_to(request, body_limit(context)))
    images, info, warnings = await _enlarge(context, caller, parameters, {"image": parameters.image})
    return with_warnings({"image": images[0], "html_info": info}, warnings)


@router.post(
    "/extra-batch-images",
    summary="Enlarge images",
    response_model=BatchImagesAnswer,
    responses=ERRORS,
    openapi_extra=_body(BatchImagesRequest),
)
@requires(Scope.SUBMIT)
async def extra_batch_images(request: Request, context: AppContext, caller: CurrentCaller) -> Response:
    """Enlarge up to 16 images."""
    parameters = parse(BatchImagesRequest, await body_up_to(request, body_limit(context)))
    data = {f"imageList.{number}": file.data for number, file in enumerate(parameters.imageList)}
    images, info, warnings = await _enlarge(context, caller, parameters, data)
    return with_warnings({"images": images, "html_info": info}, warnings)


async def _enlarge(
    context: Context, caller: Caller, parameters: EnlargeRequest, data: dict[str, str]
) -> tuple[list[str], str, list[JobWarning]]:
    """The enlarged images in base64, the answer's `html_info`, and the warnings."""
    contents = {name: await decode_image(context, caller, name, text) for name, text in data.items()}
    pngs = await context.decoders.enlarge(caller.project_id, contents, parameters.options())
    warnings = list(parameters.warnings())
    info = "".join(f"<p>{escape(item['message'])}</p>" for item in warnings)
    return [base64.b64encode(png).decode() for png in pngs.values()], info, warnings


@router.post(
    "/png-info",
    summary="Read the infotext of an image",
    response_model=PngInfoAnswer,
    responses=ERRORS,
    openapi_extra=_body(PngInfoRequest),
)
@requires(Scope.READ)
async def png_info(request: Request, context: AppContext, caller: CurrentCaller) -> Response:
    """Read how an image was generated, from the texts of its file. Nothing is stored."""
    parameters = parse(PngInfoRequest, await body_up_to(request, body_limit(context)))
    content = await decode_image(context, caller, "image", parameters.image.strip())
    items = dict(await context.decoders.read_texts(caller.project_id, "image", content))
    info = items.pop(INFOTEXT, "")
    fields = dict(parse_infotext(info)) if info else {}
    return answer(PngInfoAnswer(info=info, items=items, parameters=fields))
