"""`/v1/models`: the catalogue in OpenAI's format, with additional fields."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from api.audit import event_of
from api.authentication import CurrentCaller, requires
from api.callers import Caller
from api.context import Context
from api.deps import AppContext
from api.fine_tuning.models import project_models
from api.model_parameters import parameters_of
from api.queue_stats import ModelReadiness, Queue
from api.responses import ERROR, answer
from core import audit
from core.audit import AuditType
from core.catalog import Guidance, Model, ParameterBounds, Steps
from core.catalog.fine_tuning import FineTuningSpec
from core.errors import ModelNotFound, NotFound
from core.fine_tuning import queries as fine_tuning
from core.fine_tuning.rows import FineTunedModelRow
from core.parameters.control import ControlSpec, Preprocess
from core.parameters.hires import HiresSpec
from core.parameters.loras import LoraSpec, is_fine_tuned
from core.parameters.reference_images import IpAdapterSpec
from core.parameters.refiner import RefinerSpec
from core.parameters.sizes import FreeSizes
from core.responses.job import Deleted, is_none
from core.scopes import Scope
from core.text import quote

router = APIRouter(prefix="/v1/models", tags=["models"])


class ControlObject(BaseModel):
    """A type of control images of a model."""

    type: str
    weight: float = Field(description="Default weight.")
    description: str = Field(description="What its control images show.")
    is_required: bool = Field(description="Whether the model draws only with such an image.")
    preprocess: Preprocess = Field(description="Default of what is made of the image first.")

    @classmethod
    def of(cls, spec: ControlSpec) -> Self:
        """The type that the catalogue lists."""
        return cls(
            type=spec.type,
            weight=spec.weight,
            description=spec.description,
            is_required=spec.is_required,
            preprocess=spec.preprocess,
        )


class ModelObject(BaseModel):
    """A model that requests can name."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "safelight"
    description: str
    licence: str
    aliases: list[str]
    alias_of: str | None = Field(None, description="The id of the model that this name stands for. Null: its own.")
    operations: list[str]
    sizes: list[str]
    default_size: str
    free_sizes: FreeSizes | None = Field(None, description="Bounds of further sizes. Null: only `sizes`.")
    steps: Steps
    guidance_scale: Guidance
    qualities: list[str] = Field(description="Values of `quality` beside `auto`.")
    styles: list[str] = Field(description="Values of `style`.")
    choices: dict[str, list[str]] = Field(description="Values of other parameters that are chosen from a list.")
    optional_parameters: dict[str, ParameterBounds] = Field(
        description="Parameters that only some models have and this one has, with their defaults and bounds."
    )
    loras: list[LoraSpec] = Field(description="LoRAs that `loras` may name: name, default weight, trigger words.")
    controls: list[ControlObject] = Field(description="Types of images that `control` may have.")
    ip_adapters: list[IpAdapterSpec] = Field(description="IP-Adapters that `reference_images` may name.")
    hires: HiresSpec | None = Field(description="Bounds of the second pass; null if there is none.")
    fine_tuning: FineTuningSpec | None = Field(
        description="Defaults and bounds of `POST /v1/fine_tuning/jobs`; null if the model cannot be fine-tuned."
    )
    refiners: list[RefinerSpec] = Field(description="Refiners that `refiner` may name.")
    strength: float = Field(description="Default `strength` of an edit.")
    max_images: int
    max_input_images: int = Field(description="Input images of an edit: `image` and its `reference_images`.")
    max_prompt_chars: int
    queue: Queue
    readiness: ModelReadiness
    parameters: dict[str, Any] | None = Field(
        None,
        description="JSON schemas of the parameters that the model supports, by name, with its limits and defaults; "
        "`operations` lists the operations that accept each. Only in the answer for a single model.",
        exclude_if=is_none,
    )


class ModelList(BaseModel):
    """All models."""

    object: Literal["list"] = "list"
    data: list[ModelObject]


@router.get("", summary="List models", response_model=ModelList)
@requires(Scope.READ)
async def index(context: AppContext, caller: CurrentCaller) -> Response:
    """List the models and, after them, their aliases and your fine-tuned models; the default model comes first."""
    models = await list_models(context, caller)
    queues, readiness = await _queues(context), await context.queue_stats.readiness(caller.scopes)
    own = [_fine_tuned(context, row, queues, readiness) for row in await project_models(context, caller.project_id)]
    return answer(ModelList(data=[*models.data, *own]))


async def list_models(context: Context, caller: Caller) -> ModelList:
    """The models and, after them, their aliases; the default model comes first."""
    queues, readiness = await _queues(context), await context.queue_stats.readiness(caller.scopes)
    models = sorted(context.catalog.models, key=lambda model: model.id != context.catalog.default)
    names = [(model.id, model) for model in models] + [(alias, model) for model in models for alias in model.aliases]
    return ModelList(data=[_model_object(name, model, queues, readiness) for name, model in names])


@router.get("/{name:path}", summary="Get a model", response_model=ModelObject, responses={404: ERROR})
@requires(Scope.READ)
async def fetch(name: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Get a model by its name or an alias."""
    if is_fine_tuned(name):
        row = await _fine_tuned_row(context, caller.project_id, name)
        queues, readiness = await _queues(context), await context.queue_stats.readiness(caller.scopes)
        model_object = _fine_tuned(context, row, queues, readiness)
        parameters = parameters_of(context.catalog.model(row.model))
        return answer(model_object.model_copy(update={"parameters": parameters}))
    try:
        model = context.catalog.model(name)
    except ModelNotFound as error:
        raise NotFound(error.message, param="model") from error
    queues, readiness = await _queues(context), await context.queue_stats.readiness(caller.scopes)
    model_object = _model_object(name, model, queues, readiness)
    return answer(model_object.model_copy(update={"parameters": parameters_of(model)}))


@router.delete("/{name:path}", summary="Delete a fine-tuned model", response_model=Deleted, responses={404: ERROR})
@requires(Scope.SUBMIT)
async def delete(name: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Delete a fine-tuned model of your project. Queued jobs that need it will fail with `input_unavailable`."""
    row = await _fine_tuned_row(context, caller.project_id, name)
    await context.storage.delete_async(row.storage_key)
    event = event_of(caller, AuditType.MODEL_DELETED)
    statement = fine_tuning.delete_model(caller.project_id, name)
    await context.database.execute(audit.with_audit_event(statement, event))
    return answer(Deleted(id=name, object="model"))


async def _fine_tuned_row(context: Context, project_id: str, name: str) -> FineTunedModelRow:
    """A model of a project. Raises NotFound, also while its base model is not in the catalogue."""
    rows = await context.database.execute(fine_tuning.get_models(project_id, [name]))
    if not rows or rows[0].model not in {model.id for model in context.catalog.models}:
        raise NotFound(f"There is no fine-tuned model {quote(name)}.", param="model")
    return rows[0]


def _fine_tuned(
    context: Context, row: FineTunedModelRow, queues: Mapping[str, Queue], readiness: Mapping[str, ModelReadiness]
) -> ModelObject:
    """The object of a fine-tuned model: that of its base model, with the name and the owner of its own."""
    base = _model_object(row.id, context.catalog.model(row.model), queues, readiness)
    changes = {
        "created": int(row.created_at.timestamp()),
        "owned_by": row.project_id,
        "aliases": [],
        "alias_of": None,
        "description": f"Fine-tuned from {row.model}.",
        "fine_tuning": None,
    }
    return base.model_copy(update=changes)


async def _queues(context: Context) -> Mapping[str, Queue]:
    """The queue of each model of the catalogue."""
    seconds = await context.estimates.backlog_seconds()
    stats = await context.queue_stats.by_model()
    states = await context.queue_stats.states()
    return {
        model.id: stats.get(model.id, Queue()).model_copy(
            update={
                "name": model.queue,
                "state": states.get(model.queue, "no_worker"),
                "device_seconds": round(seconds.get(model.id, 0.0), 3),
            }
        )
        for model in context.catalog.models
    }


def _model_object(
    name: str, model: Model, queues: Mapping[str, Queue], readiness: Mapping[str, ModelReadiness]
) -> ModelObject:
    return ModelObject(
        id=name,
        alias_of=None if name == model.id else model.id,
        created=model.created,
        description=model.description,
        licence=model.licence,
        aliases=list(model.aliases),
        operations=list(model.operations),
        sizes=list(model.sizes),
        default_size=model.size,
        free_sizes=model.free_sizes,
        steps=model.steps,
        guidance_scale=model.guidance_scale,
        qualities=list(model.qualities or model.quality_steps),
        styles=list(model.styles),
        choices={name: list(values) for name, values in model.choices.items()},
        optional_parameters=dict(model.parameters),
        loras=list(model.loras),
        controls=[ControlObject.of(spec) for spec in model.controls],
        ip_adapters=list(model.ip_adapters),
        hires=model.hires,
        fine_tuning=model.fine_tuning,
        refiners=list(model.refiners),
        strength=model.strength,
        max_images=model.max_images,
        max_input_images=model.input_image_count,
        max_prompt_chars=model.max_prompt_chars,
        queue=queues[model.id],
        readiness=ModelReadiness(state="remote") if model.is_remote else readiness.get(model.id, ModelReadiness()),
    )
