"""What a client may ask for, and how a request becomes a job: `JobRequest` is checked, `plan` makes it a `NewJob`.

Reject, never repair: an unknown field or a value that the model does not allow is an error that names the field and
what is allowed, and nothing is stored. What is left out gets the model's default, and the job shows it.
"""

import secrets
from datetime import timedelta
from typing import Annotated, Any, Literal, TypeVar

import sqlalchemy as sa
from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from core.catalog import Catalog, Model
from core.errors import InvalidJSON, InvalidParameter, InvalidRequest, MissingParameter, UnknownParameter
from core.ids import new_id
from core.jobs import NewJob
from core.settings import Settings

SEEDS = 2**32

RequestT = TypeVar("RequestT", bound=BaseModel)

OutputFormat = Literal["png", "webp", "jpeg"]


def _printable(text: str) -> str:
    """Refuse characters that no prompt needs and Postgres or a terminal cannot take."""
    for character in text:
        if (ord(character) < 32 and character not in "\n\t\r") or ord(character) == 127:
            raise ValueError(f"must not contain the control character U+{ord(character):04X}")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return text


Text = Annotated[str, AfterValidator(_printable)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)]
MetadataValue = Annotated[str, StringConstraints(max_length=512), AfterValidator(_printable)]


class JobRequest(BaseModel):
    """A request for pictures. Only `prompt` is required."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [{"prompt": "A cat sitting on a sofa.", "n": 2, "size": "256x256", "seed": 7}],
        },
    )

    prompt: Annotated[Text, AfterValidator(_not_blank), Field(description="What to draw, in words the model knows.")]
    model: str | None = Field(None, description="Name or alias of a model; see `GET /v1/models`. Default: the default.")
    negative_prompt: Text | None = Field(None, description="What to keep away from.")
    n: Annotated[int, Ge(1)] = Field(1, description="How many pictures, each with its own seed.")
    size: str | None = Field(None, description="`WIDTHxHEIGHT` in pixels, one of the model's sizes; or `auto`.")
    steps: Annotated[int, Ge(1)] | None = Field(None, description="Denoising steps.")
    guidance_scale: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        None, description="How closely the picture follows the prompt."
    )
    seed: Annotated[int, Ge(0), Le(SEEDS - 1)] | None = Field(
        None, description="Seed of the first picture; picture i has seed + i. Drawn and shown when left out."
    )
    output_format: OutputFormat = Field("png", description="File format.")
    output_compression: Annotated[int, Ge(0), Le(100)] | None = Field(
        None, description="Quality of webp and jpeg, in percent."
    )
    priority: Annotated[int, Ge(-100), Le(100)] = Field(0, description="Higher goes first within your queue.")
    expires_after: Annotated[int, Gt(0), Le(7 * 24 * 3600)] | None = Field(
        None, description="Seconds after which the job expires if it still waits."
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], MaxLen(16)] = Field(
        default_factory=dict, description="Up to 16 pairs of your own; the list can be filtered by them."
    )
    dry_run: bool = Field(False, description="Check and estimate only; no job is made.")


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
        known = ", ".join(kind.model_fields)
        return UnknownParameter(f"{param} is not a parameter here. Known are: {known}.", param=param)
    reason = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if param is None:
        return InvalidRequest(f"The body {reason}.", param="body")
    return InvalidParameter(f"{param} {reason}.", param=param)


def plan(
    request: JobRequest, catalog: Catalog, settings: Settings, project_id: str, *, retried_from: str | None = None
) -> NewJob:
    """Check a request against the model it names and fill in the defaults.

    Raises ModelNotFound or InvalidParameter, with the field and what is allowed.
    """
    model = catalog.model(request.model)
    size = _size(request, model)
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
        operation="generation",
        model=model.id,
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        n=request.n,
        size=size,
        steps=steps,
        guidance_scale=guidance,
        seed=secrets.randbelow(SEEDS) if request.seed is None else request.seed,
        output_format=request.output_format,
        output_compression=request.output_compression,
        queue=model.queue,
        batch_key=batch_key(model, "generation", size, steps, guidance),
        microbatch=model.microbatch,
        priority=request.priority,
        cost=device_seconds(model, size, steps) * request.n,
        max_attempts=settings.max_attempts,
        ttl=settings.job_ttl if request.expires_after is None else timedelta(seconds=request.expires_after),
        retried_from=retried_from,
        metadata=request.metadata,
    )


def repeat(row: sa.Row[Any]) -> JobRequest:
    """The request that a job was made from, with its seed: to try it again as it was."""
    return JobRequest.model_construct(
        **{name: row._mapping[name] for name in JobRequest.model_fields if name in row._mapping}
    )


def batch_key(model: Model, operation: str, size: str, steps: int, guidance_scale: float) -> str:
    """What jobs must have in common to share a pass over the device: all but prompt, negative prompt and seed."""
    return f"{model.id}@{model.revision or '-'}|{operation}|{size}|{steps}|{guidance_scale:g}"


def device_seconds(model: Model, size: str, steps: int) -> float:
    """Estimated seconds of device time for one image: the catalogue's figure, scaled by steps and area."""
    return model.seconds_per_image * steps / model.steps.default * _area(size) / _area(model.size)


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
