"""`/controlnet`: the routes of the webui's ControlNet extension, by which its clients see what there is."""

import base64
from typing import Annotated, Any

from annotated_types import MaxLen, MinLen
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.a1111.errors import ERRORS
from api.a1111.extras import MAX_RESULT_BYTES
from api.a1111.generation import decode_image
from api.a1111.images import THREAD_BYTES, body_limit
from api.authentication import CurrentCaller, Project, requires
from api.deps import AppContext, body_up_to
from api.openai.bodies import as_json
from api.responses import answer
from core.errors import InvalidParameter
from core.images.preprocess import BY_OPENCV, PACKAGE, Preprocessing, has_opencv
from core.parameters.control import MAX_CONTROLS, PREPROCESSES
from core.requests.job import parse
from core.requests.webui import EXAMPLE_IMAGE, Base64
from core.requests.webui_control import preprocess_of
from core.scopes import Scope
from core.text import Text, quote

router = APIRouter(prefix="/controlnet", tags=["webui"])

VERSION = 2
"""The version of the extension's API whose fields are read."""
MAX_IMAGES = 16


class VersionAnswer(BaseModel):
    """The version of the extension's API."""

    version: int


class SettingsAnswer(BaseModel):
    """How many units a request may have."""

    control_net_unit_count: int


class ModelListAnswer(BaseModel):
    """The types of control images of all models."""

    model_config = ConfigDict(protected_namespaces=())

    model_list: list[str]


class ModuleListAnswer(BaseModel):
    """What can be made of a control image."""

    module_list: list[str]
    module_detail: dict[str, dict[str, Any]]


class DetectRequest(BaseModel):
    """Images to preprocess."""

    model_config = ConfigDict(
        extra="allow",
        strict=True,
        json_schema_extra={"examples": [{"controlnet_module": "canny", "controlnet_input_images": [EXAMPLE_IMAGE]}]},
    )

    controlnet_module: Text = Field("none", description="A name of `/controlnet/module_list`.")
    controlnet_input_images: Annotated[list[Base64], MinLen(1), MaxLen(MAX_IMAGES)] = Field(
        description="The images, in base64 or as data URLs."
    )


class DetectAnswer(BaseModel):
    """The control images as PNG in base64, in the size of the images."""

    images: list[str]
    info: str = "Success"


@router.get("/version", summary="Version of the ControlNet API", response_model=VersionAnswer, responses=ERRORS)
@requires(Scope.READ)
async def version(_project: Project) -> Response:
    """The version of the extension's API."""
    return answer(VersionAnswer(version=VERSION))


@router.get("/settings", summary="Number of control units", response_model=SettingsAnswer, responses=ERRORS)
@requires(Scope.READ)
async def settings(_project: Project) -> Response:
    """How many units a request may have."""
    return answer(SettingsAnswer(control_net_unit_count=MAX_CONTROLS))


@router.get("/model_list", summary="List control types", response_model=ModelListAnswer, responses=ERRORS)
@requires(Scope.READ)
async def model_list(context: AppContext, _project: Project) -> Response:
    """List the types of control images that any model has. A unit names one as its `model`."""
    types = dict.fromkeys(control.type for model in context.catalog.models for control in model.controls)
    return answer(ModelListAnswer(model_list=list(types)))


@router.get("/module_list", summary="List preprocessors", response_model=ModuleListAnswer, responses=ERRORS)
@requires(Scope.READ)
async def module_list(context: AppContext, _project: Project) -> Response:
    """List what can be made of a control image. A unit names one as its `module`."""
    modules = [*PREPROCESSES, *dict.fromkeys(name for model in context.catalog.models for name in model.preprocessors)]
    details = {name: {"model_free": False, "sliders": []} for name in modules}
    return answer(ModuleListAnswer(module_list=modules, module_detail=details))


@router.post(
    "/detect",
    summary="Preprocess images",
    response_model=DetectAnswer,
    responses=ERRORS,
    openapi_extra={"requestBody": {"required": True, "content": as_json(DetectRequest)}},
)
@requires(Scope.SUBMIT)
async def detect(request: Request, context: AppContext, caller: CurrentCaller) -> Response:
    """Make control images of images, in a decoder process. Nothing is stored. Only a worker makes depth maps."""
    body = await body_up_to(request, body_limit(context))
    if len(body) > THREAD_BYTES:
        parameters = await context.threads.parsing.run(caller.project_id, parse, DetectRequest, body)
    else:
        parameters = parse(DetectRequest, body)
    module = parameters.controlnet_module
    kind = preprocess_of(module, ())
    if kind is None:
        raise InvalidParameter(
            f"controlnet_module {quote(module)} is not available here; choose from {', '.join(PREPROCESSES)}.",
            param="controlnet_module",
        )
    if kind in BY_OPENCV and not has_opencv():
        raise InvalidParameter(
            f"controlnet_module {kind} needs the package {PACKAGE} where the API runs: pip install {PACKAGE}",
            param="controlnet_module",
        )
    texts = {f"controlnet_input_images.{index}": text for index, text in enumerate(parameters.controlnet_input_images)}
    contents = {name: await decode_image(context, caller, name, text) for name, text in texts.items()}
    options = Preprocessing(kind=kind, max_bytes=MAX_RESULT_BYTES)
    pngs = await context.decoders.preprocess(caller.project_id, contents, options)
    return answer(DetectAnswer(images=[base64.b64encode(png).decode() for png in pngs.values()]))
