"""The parameters of an image: one type, and for each field a `Rule` that says what follows from it.

A request, the `parameters` column of a job, the micro-batch key, the receipt of an image, the refusal "this model has
no X", the options of `safelight generate` and `safelight batch`, the JSON of a job and the OpenAPI document are made by
looping over this type. A new parameter is a field here and the generator that honours it.

Nothing heavy is imported: the command line reads this module for its options.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Self, get_args

from annotated_types import Ge, Gt, Le
from pydantic import BaseModel, ConfigDict, Field

from core.images.postprocess import Postprocess
from core.text import Text

Operation = Literal["generation", "edit", "variation"]
Quality = Literal["auto", "low", "medium", "high", "xhigh", "max"]
"""How much effort a provider puts into an image, in OpenAI's words."""
OutputFormat = Literal["png", "webp", "jpeg"]

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
SEEDS = 2**32
"""Seeds are 0 .. SEEDS - 1."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows from a parameter. The defaults are the safe choice for a new one.

    microbatch: what jobs must agree on to share a pass over the device: its "value", its "presence", or nothing.
    receipt: whether an image's receipt keeps it. Everything that changes the pixels belongs there.
    operations: which operations have it.
    generators: names of the generators that honour it; None: all.
    from_catalog: its values are those that the catalogue lists for a model; a model that lists none does not have it.
    """

    microbatch: Literal["value", "presence"] | None = "value"
    receipt: bool = True
    operations: tuple[Operation, ...] = OPERATIONS
    generators: frozenset[str] | None = None
    from_catalog: bool = False


class Parameters(BaseModel):
    """How images are generated, apart from model, operation, prompt and input images. None: the model's default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    negative_prompt: Annotated[Text | None, Rule(microbatch="presence", operations=("generation", "edit"))] = Field(
        None, description="What the images should not show."
    )
    size: Annotated[str | None, Rule()] = Field(
        None, description="`WIDTHxHEIGHT` in pixels, one of the model's sizes, or `auto`."
    )
    steps: Annotated[int | None, Ge(1), Rule()] = Field(None, description="Number of denoising steps.")
    guidance_scale: Annotated[float | None, Rule()] = Field(
        None, allow_inf_nan=False, description="How closely the images follow the prompt."
    )
    scheduler: Annotated[str | None, Rule(generators=frozenset({"diffusers_local"}), from_catalog=True)] = Field(
        None, description="Sampler, such as `euler_a`, one of the model's `choices`. Default: the model's own."
    )
    seed: Annotated[int | None, Ge(0), Le(SEEDS - 1), Rule(microbatch=None)] = Field(
        None, description="Seed of the first image; image i has seed + i. Chosen at random by default."
    )
    quality: Annotated[Quality, Rule(receipt=False, from_catalog=True)] = Field(
        "auto", description="Effort of a provider, one of the model's `qualities`. Other models have no quality."
    )
    output_format: Annotated[OutputFormat, Rule(microbatch=None, receipt=False)] = Field(
        "png", description="File format of the images."
    )
    output_compression: Annotated[int | None, Ge(0), Le(100), Rule(microbatch=None, receipt=False)] = Field(
        None, description="Quality of webp and jpeg files, in percent."
    )
    strength: Annotated[float | None, Gt(0), Le(1), Rule(operations=("edit",))] = Field(
        None, description="How far an edit departs from `image`, up to 1 (nothing of it remains)."
    )
    postprocess: Annotated[Postprocess | None, Rule(microbatch=None)] = Field(
        None, description="Filters for the finished images."
    )
    partial_images: Annotated[int, Ge(0), Le(3), Rule(microbatch=None, receipt=False)] = Field(
        0, description="Previews of each image that the job's events bring while it is generated."
    )


class ResolvedParameters(Parameters):
    """The parameters of a job: the model's defaults are filled in. This is what the database stores.

    A job that was submitted by a newer version may have more of them: see `unknown`.
    """

    model_config = ConfigDict(extra="allow")

    size: Annotated[str, Rule()]
    steps: Annotated[int, Ge(1), Rule()]
    guidance_scale: Annotated[float, Rule()]
    seed: Annotated[int, Ge(0), Le(SEEDS - 1), Rule(microbatch=None)]

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Self:
        """From the JSON of a job's row."""
        return cls.model_validate(stored, strict=False)

    def dump(self) -> dict[str, Any]:
        """As the JSON of a job's row."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def unknown(self) -> list[str]:
        """Parameters that this version does not know."""
        return sorted(self.model_extra or ())

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height, in pixels."""
        width, _, height = self.size.partition("x")
        return int(width), int(height)

    def of_image(self, index: int) -> Self:
        """The parameters of one image of a job: image i has seed + i, modulo SEEDS."""
        return self.model_copy(update={"seed": (self.seed + index) % SEEDS})


@cache
def rules() -> Mapping[str, Rule]:
    """The rule of every parameter, by name, in the order of the fields. Raises TypeError for a field without one."""
    by_name: dict[str, Rule] = {}
    for name, field in Parameters.model_fields.items():
        rule = next((item for item in field.metadata if isinstance(item, Rule)), None)
        if rule is None:
            raise TypeError(f"Parameters.{name} has no Rule")
        by_name[name] = rule
    return by_name


def lacked_by(generator: str) -> frozenset[str]:
    """The parameters that a generator does not honour, by the parameters' own rules."""
    return frozenset(
        name for name, rule in rules().items() if rule.generators is not None and generator not in rule.generators
    )
