"""`/sdapi/v1`: what a client may choose from. The lists of what Safelight does not have are empty."""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from api.a1111.errors import ERRORS
from api.a1111.options import current_model
from api.authentication import CurrentCaller, Project, requires
from api.context import Context
from api.deps import AppContext
from api.fine_tuning.models import project_models
from core.parameters.hires import LANCZOS
from core.parameters.samplers import AUTOMATIC, DEFAULT_SAMPLER, UPSCALER_LABELS, label_of
from core.scopes import Scope

router = APIRouter(prefix="/sdapi/v1", tags=["webui"])
queue = APIRouter(tags=["webui"])
"""A route of the webui's pages, by which a Krita plugin checks the connection."""

UPSCALERS = ("None", "Lanczos", "Nearest")


class ModelItem(BaseModel):
    """A model of the catalogue."""

    model_config = {"protected_namespaces": ()}

    title: str
    model_name: str
    hash: str | None = None
    sha256: str | None = None
    filename: str
    config: str | None = None


class LatentModeItem(BaseModel):
    """A way to enlarge latents."""

    name: str


class SamplerItem(BaseModel):
    """A sampler that a model has."""

    name: str
    aliases: list[str]
    options: dict[str, str]


class SchedulerItem(BaseModel):
    """A schedule of noise levels."""

    name: str
    label: str
    aliases: list[str] | None = None
    default_rho: float = -1.0
    need_inner_model: bool = False


class UpscalerItem(BaseModel):
    """A way to enlarge an image."""

    model_config = {"protected_namespaces": ()}

    name: str
    model_name: str | None = None
    model_path: str | None = None
    model_url: str | None = None
    scale: float = 4.0


class LoraItem(BaseModel):
    """A LoRA of a model."""

    name: str
    alias: str
    path: str
    metadata: dict[str, str]


class StyleItem(BaseModel):
    """A style of a model."""

    name: str
    prompt: str
    negative_prompt: str = ""


def _answer(items: Iterable[BaseModel]) -> Response:
    return JSONResponse([item.model_dump() for item in items])


def _schedulers(context: Context) -> list[str]:
    """The samplers that any model of the catalogue has."""
    models = context.catalog.models
    return list(dict.fromkeys(name for model in models for name in model.choices.get("scheduler", ())))


@router.get("/sd-models", summary="List models", response_model=list[ModelItem], responses=ERRORS)
@requires(Scope.READ)
async def sd_models(context: AppContext, project_id: Project) -> Response:
    """List the models that generate images from prompts; the default model comes first, those of the project last."""
    models = [model for model in context.catalog.models if "generation" in model.operations]
    models.sort(key=lambda model: model.id != context.catalog.default)
    bases = [model.id for model in models]
    names = [*bases, *(row.id for row in await project_models(context, project_id) if row.model in bases)]
    return _answer(ModelItem(title=name, model_name=name, filename=name) for name in names)


@router.get("/samplers", summary="List samplers", response_model=list[SamplerItem], responses=ERRORS)
@requires(Scope.READ)
async def samplers(context: AppContext, _project: Project) -> Response:
    """List the samplers that any model has. `Default` is the model's own."""
    items = {DEFAULT_SAMPLER: SamplerItem(name=DEFAULT_SAMPLER, aliases=["automatic"], options={})}
    for name in _schedulers(context):
        label = label_of(name)
        item = items.setdefault(label.sampler, SamplerItem(name=label.sampler, aliases=[], options={}))
        item.aliases.append(name)
    return _answer(items.values())


@router.get("/schedulers", summary="List schedules", response_model=list[SchedulerItem], responses=ERRORS)
@requires(Scope.READ)
async def schedulers(context: AppContext, _project: Project) -> Response:
    """List the schedules of noise levels that any sampler has."""
    labels = [AUTOMATIC, *(label_of(name).schedule for name in _schedulers(context))]
    return _answer(SchedulerItem(name=label.lower(), label=label) for label in dict.fromkeys(labels))


@router.get("/loras", summary="List LoRAs", response_model=list[LoraItem], responses=ERRORS)
@requires(Scope.READ)
async def loras(context: AppContext, _project: Project) -> Response:
    """List the LoRAs that any model has: `<lora:name:weight>` in a prompt names them."""
    specs = {lora.name: lora for model in context.catalog.models for lora in model.loras}
    return _answer(
        LoraItem(name=name, alias=name, path=name, metadata={"trigger": spec.trigger} if spec.trigger else {})
        for name, spec in specs.items()
    )


@router.get("/upscalers", summary="List upscalers", response_model=list[UpscalerItem], responses=ERRORS)
@requires(Scope.READ)
async def upscalers(_project: Project) -> Response:
    """List the upscalers of `extra-single-image`."""
    return _answer(UpscalerItem(name=name) for name in UPSCALERS)


@router.get(
    "/latent-upscale-modes",
    summary="List latent upscalers",
    response_model=list[LatentModeItem],
    responses=ERRORS,
)
@requires(Scope.READ)
async def latent_upscale_modes(context: AppContext, _project: Project) -> Response:
    """List the ways to enlarge latents that the second pass of any model has, for `hr_upscaler`."""
    specs = [model.hires for model in context.catalog.models if model.hires is not None]
    names = dict.fromkeys(name for spec in specs for name in spec.upscalers if name != LANCZOS)
    return _answer(LatentModeItem(name=UPSCALER_LABELS[name]) for name in names)


@router.get("/prompt-styles", summary="List styles", response_model=list[StyleItem], responses=ERRORS)
@requires(Scope.READ)
async def prompt_styles(context: AppContext, caller: CurrentCaller) -> Response:
    """List the styles of the caller's model."""
    styles = (await current_model(context, caller)).styles
    return _answer(StyleItem(name=name, prompt=style.prompt_suffix) for name, style in styles.items())


@router.get("/cmd-flags", summary="Get command line flags", response_model=dict[str, Any], responses=ERRORS)
@requires(Scope.READ)
async def cmd_flags(_project: Project) -> Response:
    """The command line flags of a webui that has only its API."""
    return JSONResponse({"api": True, "nowebui": True, "api_log": False, "listen": True})


@router.get("/memory", summary="Get memory", response_model=dict[str, Any], responses=ERRORS)
@requires(Scope.READ)
async def memory(_project: Project) -> Response:
    """Nothing: what the machines have is not for their tenants."""
    error = {"error": "Safelight does not tell of the memory of its machines."}
    return JSONResponse({"ram": error, "cuda": error})


@router.get("/scripts", summary="List scripts", response_model=dict[str, list[str]], responses=ERRORS)
@requires(Scope.READ)
async def scripts(_project: Project) -> Response:
    """There are no scripts."""
    return JSONResponse({"txt2img": [], "img2img": []})


@router.get("/embeddings", summary="List embeddings", response_model=dict[str, Any], responses=ERRORS)
@requires(Scope.READ)
async def embeddings(_project: Project) -> Response:
    """There are no embeddings."""
    return JSONResponse({"loaded": {}, "skipped": {}})


@requires(Scope.READ)
async def no_items(_project: Project) -> Response:
    """There are none."""
    return JSONResponse([])


EMPTY_LISTS = (
    "sd-vae",
    "sd-modules",
    "hypernetworks",
    "face-restorers",
    "realesrgan-models",
    "script-info",
    "extensions",
)

for name in EMPTY_LISTS:
    router.add_api_route(
        f"/{name}",
        no_items,
        name=name.replace("-", "_"),
        summary=f"List {name}",
        response_model=list[dict[str, Any]],
        responses=ERRORS,
    )


@requires(Scope.READ)
async def do_nothing(_project: Project) -> Response:
    """The lists are always new, and models are loaded when they are needed."""
    return JSONResponse(None)


for name in ("refresh-checkpoints", "refresh-loras", "refresh-vae", "unload-checkpoint", "reload-checkpoint"):
    router.add_api_route(
        f"/{name}",
        do_nothing,
        methods=["POST"],
        name=name.replace("-", "_"),
        summary=f"{name.capitalize().replace('-', ' ')}",
        response_model=None,
        responses=ERRORS,
    )


@queue.get("/queue/status", summary="Check the connection", response_model=dict[str, Any])
@requires(Scope.READ)
async def queue_status(_project: Project) -> Response:
    """Nothing is said of the queue: `GET /sdapi/v1/progress` tells of the caller's own calls."""
    return JSONResponse({"msg": "estimation", "queue_size": 0})
