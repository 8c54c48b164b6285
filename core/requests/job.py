"""What a client may ask for, and how a request becomes a job: `JobRequest` is checked, `plan` makes it a `NewJob`.

Reject, never repair: an unknown field or a value that the model does not allow is an error that names the field and
what is allowed, and nothing is stored. What is left out gets the model's default, and the job shows it.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Self, TypeVar, get_args

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from core.catalog import Catalog, Model, Operation, Quality
from core.errors import InvalidJSON, InvalidParameter, InvalidRequest, MissingParameter, UnknownParameter
from core.ids import new_id
from core.images.postprocess import Postprocess, output_size
from core.jobs import NewJob
from core.requests.fields import (
    ImageSource,
    InputImage,
    InputMask,
    JobWebhook,
    MetadataKey,
    MetadataValue,
    OutputFormat,
    Strength,
    Text,
)
from core.rows import JobRow
from core.settings import Settings

SEEDS = 2**32

RequestT = TypeVar("RequestT", bound=BaseModel)


class Prompted(BaseModel):
    """What has a prompt."""

    prompt: Text | None = Field(
        None,
        description="What to draw, in words the model knows. Not for a variation.",
        json_schema_extra={"minLength": 1},
    )


class Parameters(BaseModel):
    """How images are to be drawn, whatever they show; the lines of a batch may share them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = Field(None, description="Name or alias of a model; see `GET /v1/models`. Default: the default.")
    negative_prompt: Text | None = Field(None, description="What to keep away from.")
    n: Annotated[int, Ge(1)] = Field(1, description="How many images, each with its own seed.")
    size: str | None = Field(None, description="`WIDTHxHEIGHT` in pixels, one of the model's sizes; or `auto`.")
    steps: Annotated[int, Ge(1)] | None = Field(None, description="Denoising steps.")
    guidance_scale: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="How closely the image follows the prompt."
    )
    seed: Annotated[int, Ge(0), Le(SEEDS - 1)] | None = Field(
        None, description="Seed of the first image; image i has seed + i. Drawn and shown when left out."
    )
    quality: Quality = Field(
        "auto", description="How carefully a provider draws: one of the model's `qualities`. Of no other model."
    )
    output_format: OutputFormat = Field("png", description="File format.")
    output_compression: Annotated[int, Ge(0), Le(100)] | None = Field(
        None, description="Quality of webp and jpeg, in percent."
    )
    postprocess: Postprocess | None = Field(None, description="What to do to the finished images.")
    priority: Annotated[int, Ge(-100), Le(100)] = Field(
        0, description="Higher goes first; single jobs before batches in any case. Every sixteenth turn ignores it."
    )


class ImageParameters(Parameters, Prompted):
    """What every request for images may say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    expires_after: Annotated[int, Gt(0), Le(7 * 24 * 3600)] | None = Field(
        None, description="Seconds after which the job expires if it still waits."
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], MaxLen(16)] = Field(
        default_factory=dict, description="Up to 16 pairs of your own; the list can be filtered by them."
    )


class JobRequest(ImageParameters):
    """A request for images. A generation needs a `prompt`, a variation an `image`, an edit both."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"prompt": "A cat sitting on a sofa.", "n": 2, "size": "256x256", "seed": 7},
                {"operation": "edit", "prompt": "A dog.", "image": {"file_id": "file-01kc3m9w8yq6k0v2t5x7z1b4dn"}},
                {"operation": "variation", "image": {"image_id": "img_01kc3m9w8yq6k0v2t5x7z1b4dn"}, "n": 4},
            ],
        },
    )

    operation: Operation = Field("generation", description="`generation` from words, `edit` or `variation` of `image`.")
    image: InputImage = None
    mask: InputMask = None
    strength: Strength = None
    partial_images: Annotated[int, Ge(0), Le(3)] = Field(
        0, description="How many previews of each image the job's events bring while it is drawn."
    )
    webhook: JobWebhook | None = Field(None, description="Where this job's events are posted to.")
    dry_run: bool = Field(False, description="Check and estimate only; no job is made.")

    @model_validator(mode="after")
    def _fits_the_operation(self) -> Self:
        check_operation(self)
        return self


def check_operation(request: JobRequest) -> None:
    """Raise the InvalidRequest that names the first field that an operation lacks or does not take."""
    operation = request.operation
    for name, takers in _TAKERS.items():
        if getattr(request, name) is not None and operation not in takers:
            raise InvalidParameter(f"{name} is for operation {' or '.join(takers)}, not {operation}.", param=name)
    for name, takers in _NEEDED.items():
        if getattr(request, name) is None and operation in takers:
            raise MissingParameter(f"{name} is required for operation {operation}.", param=name)
    is_blank = not (request.prompt or "").strip()
    if operation == "variation" and not is_blank:
        raise InvalidParameter("prompt is for operation generation or edit, not variation.", param="prompt")
    if operation != "variation" and is_blank:
        raise InvalidParameter("prompt must not be empty.", param="prompt")


_TAKERS = {
    "image": ("edit", "variation"),
    "mask": ("edit",),
    "strength": ("edit",),
    "negative_prompt": ("generation", "edit"),
}
_NEEDED = {"prompt": ("generation", "edit"), "image": ("edit", "variation")}


def parse(kind: type[RequestT], body: bytes) -> RequestT:
    """Read a JSON body. Raises InvalidJSON, or the InvalidRequest that names the first field that is wrong."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise explain(error.errors(include_url=False)[0], kind) from None


def explain(error: ErrorDetails, kind: type[BaseModel]) -> InvalidRequest:
    """Pydantic's finding in the catalogue's words."""
    param = ".".join(str(part) for part in error["loc"] if part != "[key]") or None
    if error["type"] == "json_invalid":
        reason = error.get("ctx", {}).get("error", error["msg"])
        return InvalidJSON(f"The body is not valid JSON: {reason}.", param="body")
    if error["type"] == "missing":
        return MissingParameter(f"{param} is required.", param=param)
    if error["type"] == "extra_forbidden":
        known = ", ".join(_fields_at(kind, error["loc"]))
        return UnknownParameter(f"{param} is not a parameter here. Known are: {known}.", param=param)
    reason = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if param is None:
        return InvalidRequest(f"The body {reason}.", param="body")
    return InvalidParameter(f"{param} {reason}.", param=param)


def _fields_at(kind: type[BaseModel], loc: tuple[int | str, ...]) -> Iterable[str]:
    """The names of the fields beside one that is not known, in whatever object of the body it is."""
    for name in loc[:-1]:
        if isinstance(name, str):  # a number is a place in a list
            kind = next(_models_in(kind.model_fields[name].annotation))
    return kind.model_fields


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that a field's type speaks of, in whatever lists and alternatives."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def plan(
    request: JobRequest,
    catalog: Catalog,
    settings: Settings,
    project_id: str,
    *,
    inputs: Mapping[str, str] | None = None,
    retried_from: str | None = None,
    is_repeat: bool = False,
) -> NewJob:
    """Check a request against the model it names and fill in the defaults.

    inputs: under which ids the request's images are files, by `image` and `mask`; whoever calls has read them.
    is_repeat: it was checked when it came first, and says everything, defaults included.
    Raises ModelNotFound or InvalidParameter, with the field and what is allowed.
    """
    inputs = inputs or {}
    model = able_model(request, catalog)
    if retried_from is None and not is_repeat:
        _refuse_what_means_nothing(request, model)
    size = _size(request, model)
    output_size(size, request.postprocess)
    strength = (request.strength or model.strength) if request.operation == "edit" else None
    steps = model.steps.default if request.steps is None else request.steps
    guidance = model.guidance_scale.default if request.guidance_scale is None else request.guidance_scale
    _within("steps", steps, model.steps.min, model.steps.max)
    _within("guidance_scale", guidance, model.guidance_scale.min, model.guidance_scale.max)
    _within("n", request.n, 1, model.max_images)
    for name in ("prompt", "negative_prompt"):
        length = len(getattr(request, name) or "")
        if length > model.max_prompt_chars:
            raise InvalidParameter(
                f"{name} has {length} characters; {model.id} takes at most {model.max_prompt_chars}.", param=name
            )
    if request.output_compression is not None and request.output_format == "png":
        raise InvalidParameter(
            "output_compression is for output_format webp or jpeg; png is lossless.", param="output_compression"
        )
    return NewJob(
        id=new_id("job"),
        project_id=project_id,
        operation=request.operation,
        model=model.id,
        prompt=request.prompt or "",
        negative_prompt=request.negative_prompt,
        n=request.n,
        size=size,
        steps=steps,
        guidance_scale=guidance,
        seed=random_seed(model) if request.seed is None else request.seed,
        output_format=request.output_format,
        output_compression=request.output_compression,
        queue=model.queue,
        microbatch_key=microbatch_key(
            model, request.operation, size, steps, guidance, strength, masked="mask" in inputs
        ),
        microbatch_size=model.microbatch_size,
        priority=request.priority,
        cost=device_seconds(model, size, steps) * request.n,
        max_attempts=settings.max_attempts,
        ttl=settings.job_ttl if request.expires_after is None else timedelta(seconds=request.expires_after),
        inputs=inputs,
        strength=strength,
        postprocess=None if request.postprocess is None else request.postprocess.model_dump(exclude_none=True),
        partial_images=request.partial_images,
        quality=request.quality,
        retried_from=retried_from,
        metadata=request.metadata,
        webhook=None if request.webhook is None else request.webhook.allowed(settings),
    )


def able_model(request: JobRequest, catalog: Catalog) -> Model:
    """The model that a request names, if it has the operation. Raises ModelNotFound or InvalidParameter."""
    model = catalog.model(request.model)
    if request.operation not in model.operations:
        able = ", ".join(catalog.able_to(request.operation)) or "none"
        raise InvalidParameter(
            f"{model.id} has no operation {request.operation!r}; it has {', '.join(model.operations)}. "
            f"Models with it: {able}.",
            param="operation",
        )
    return model


def repeat(row: JobRow) -> JobRequest:
    """The request that a job was made from, with its seed: to try it again as it was."""
    plain = {name: getattr(row, name) for name in JobRequest.model_fields if hasattr(row, name)}
    images = {name: ImageSource(file_id=file_id) for name, file_id in row.inputs.items()}
    postprocess = None if row.postprocess is None else Postprocess.model_validate(row.postprocess)
    webhook = None if row.webhook is None else JobWebhook.model_validate(row.webhook)
    return JobRequest.model_construct(**plain | images | {"postprocess": postprocess, "webhook": webhook})


def microbatch_key(
    model: Model,
    operation: str,
    size: str,
    steps: int,
    guidance_scale: float,
    strength: float | None = None,
    *,
    masked: bool = False,
) -> str:
    """What jobs must have in common to share a pass over the device: all but prompts, seed and images."""
    key = f"{model.id}@{model.revision or '-'}|{operation}|{size}|{steps}|{guidance_scale:g}"
    return key if strength is None else f"{key}|{strength:g}|{'mask' if masked else 'whole'}"


def device_seconds(model: Model, size: str, steps: int) -> float:
    """Estimated seconds of device time for one image: the catalogue's figure, scaled by steps and area."""
    return model.seconds_per_image * steps / model.steps.default * _area(size) / _area(model.size)


def _refuse_what_means_nothing(request: JobRequest, model: Model) -> None:
    """Raise the InvalidParameter that names the first field that the model could only drop."""
    for name in model.lacks:
        if getattr(request, name) not in (None, JobRequest.model_fields[name].default):
            raise InvalidParameter(f"{model.id} has no {name}: leave it out.", param=name)
    if model.is_remote and request.partial_images and request.n > 1:
        raise InvalidParameter(
            f"partial_images must be 0 where n is more than 1: the previews of {model.id} do not say which image "
            "they show.",
            param="partial_images",
        )
    if request.quality not in ("auto", *model.qualities):
        allowed = ", ".join(("auto", *model.qualities))
        raise InvalidParameter(f"quality {request.quality!r} is not one of {model.id}: {allowed}.", param="quality")


def random_seed(model: Model) -> int:
    """A seed for a request that names none; 0 where there is nothing to sow, as any other number would promise more."""
    return 0 if "seed" in model.lacks else secrets.randbelow(SEEDS)


def _size(request: JobRequest, model: Model) -> str:
    if request.size in (None, "auto"):
        return model.size
    if request.size not in model.sizes:
        allowed = ", ".join(model.sizes)
        raise InvalidParameter(f"size {request.size!r} is not one that {model.id} draws: {allowed}.", param="size")
    return request.size


def _within(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise InvalidParameter(f"{name} is {value:g}; allowed is {least:g} to {most:g}.", param=name)


def _area(size: str) -> int:
    width, height = size.split("x")
    return int(width) * int(height)
