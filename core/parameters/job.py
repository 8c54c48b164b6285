"""The parameters of an image: one type, with a `Rule` for each field.

Requests, the `parameters` column of a job, the micro-batch key, the receipt of an image, the error for a parameter that
a model does not support, the options of `safelight generate` and `safelight batch`, the JSON of a job and the OpenAPI
document all iterate over this type. To add a parameter, add a field here and support it in a generator.

The command line imports this module for its options, so it has only light imports.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Self, cast, get_args

from annotated_types import Ge, Gt, Le, MaxLen
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from core.images.postprocess import Postprocess
from core.parameters.control import MAX_CONTROLS, Control
from core.parameters.hires import Hires
from core.parameters.loras import MAX_LORAS, Lora
from core.parameters.reference_images import MAX_INPUT_IMAGES, ReferenceImage
from core.parameters.refiner import Refiner
from core.text import Text

Operation = Literal["generation", "edit", "variation"]
Quality = Literal["auto", "low", "medium", "high", "xhigh", "max"]
"""The effort for an image, with OpenAI's values: of a provider, or as a number of steps."""
Style = Literal["vivid", "natural"]
"""DALL·E 3's styles."""
OutputFormat = Literal["png", "webp", "jpeg"]
SizeText = Annotated[str, StringConstraints(pattern=r"^[1-9]\d{1,3}x[1-9]\d{1,3}$")]
"""`WIDTHxHEIGHT` in pixels, each from 10 to 9999."""

OPERATIONS: tuple[Operation, ...] = get_args(Operation)
MAX_CLIP_SKIP = 24
"""Layers: the text encoders have some more."""
SEED_BITS = 32
SEEDS = 2**SEED_BITS
"""Seeds are 0 .. SEEDS - 1."""


@dataclass(frozen=True, slots=True)
class Rule:
    """The rules of a parameter. The defaults are the safe choice for a new one.

    microbatch: what must be equal for jobs to share a pass over the device: its "value", its "presence", or nothing.
    receipt: whether an image's receipt contains it. Everything that changes the pixels belongs there.
    operations: the operations that accept it.
    generators: names of the generators that support it; None: all.
    from_catalog: the catalogue lists its values for each model; a model without values does not support it.
    is_argument: `diffusers_local` passes it to the pipeline's call under the same name. The catalogue's `parameters`
        names those of a model; other models do not support it.
    text: it is a text for the model, as long as a prompt may be: what the images show, or what they must not show.
    neutral: values that every model honours, because they ask for nothing special.
    """

    microbatch: Literal["value", "presence"] | None = "value"
    receipt: bool = True
    operations: tuple[Operation, ...] = OPERATIONS
    generators: frozenset[str] | None = None
    from_catalog: bool = False
    is_argument: bool = False
    text: Literal["prompt", "negative"] | None = None
    neutral: tuple[str | bool, ...] = ()


def _argument(
    microbatch: Literal["value", "presence"] = "value",
    operations: tuple[Operation, ...] = OPERATIONS,
    text: Literal["prompt", "negative"] | None = None,
) -> Rule:
    """The rule of a parameter that is an argument of diffusers' pipelines."""
    return Rule(microbatch, True, operations, frozenset({"diffusers_local"}), is_argument=True, text=text)


class Parameters(BaseModel):
    """The parameters of images, except model, operation, prompt and input images. None: the model's default."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    negative_prompt: Annotated[
        Text | None, Rule(microbatch="presence", operations=("generation", "edit"), text="negative")
    ] = Field(None, description="What the images should not show.")
    prompt_2: Annotated[Text | None, _argument("presence", ("generation", "edit"), "prompt")] = Field(
        None, description="Prompt for the model's second text encoder. Default: `prompt`."
    )
    negative_prompt_2: Annotated[Text | None, _argument("presence", ("generation", "edit"), "negative")] = Field(
        None, description="Negative prompt for the model's second text encoder. Default: `negative_prompt`."
    )
    size: Annotated[str | None, Rule()] = Field(
        None, description="`WIDTHxHEIGHT` in pixels, one of the model's sizes, or `auto`."
    )
    output_size: Annotated[SizeText | None, Rule(microbatch=None)] = Field(
        None,
        description="`WIDTHxHEIGHT` of the result before `postprocess`, at most 4096 px a side. The image is generated "
        "at `size`, scaled to cover this size, and cropped around its centre. Default: `size`.",
    )
    steps: Annotated[int | None, Ge(1), Rule()] = Field(None, description="Number of denoising steps.")
    guidance_scale: Annotated[float | None, Rule()] = Field(
        None, allow_inf_nan=False, description="How closely the images follow the prompt."
    )
    true_cfg_scale: Annotated[float | None, Ge(1), Le(30), _argument()] = Field(
        None,
        allow_inf_nan=False,
        description="Classifier-free guidance of a distilled model, which doubles its time. 1 is none.",
    )
    clip_skip: Annotated[int | None, Ge(0), Le(MAX_CLIP_SKIP), _argument()] = Field(
        None, description="Number of the text encoder's last layers that are left out. AUTOMATIC1111 counts from 1."
    )
    eta: Annotated[float | None, Ge(0), Le(1), _argument()] = Field(
        None,
        allow_inf_nan=False,
        description="Share of new noise in each step, for schedulers such as `ddim`. 0 adds none.",
    )
    max_sequence_length: Annotated[int | None, Ge(1), Le(4096), _argument()] = Field(
        None, description="Number of tokens of a prompt that the model reads at most."
    )
    scheduler: Annotated[str | None, Rule(generators=frozenset({"diffusers_local"}), from_catalog=True)] = Field(
        None, description="Sampler, such as `euler_a`, one of the model's `choices`. Default: the model's own."
    )
    loras: Annotated[list[Lora] | None, MaxLen(MAX_LORAS), Rule(generators=frozenset({"diffusers_local"}))] = Field(
        None, description=f"Up to {MAX_LORAS} of the model's `loras`, each with a weight. Default: none."
    )
    control: Annotated[
        list[Control] | None,
        MaxLen(MAX_CONTROLS),
        Rule(operations=("generation", "edit"), generators=frozenset({"diffusers_local", "fake"})),
    ] = Field(
        None,
        description=f"Up to {MAX_CONTROLS} images that guide the layout, such as edges or a pose, each with one of the "
        "types of the model's `controls`. Default: none.",
    )
    reference_images: Annotated[
        list[ReferenceImage] | None,
        MaxLen(MAX_INPUT_IMAGES - 1),
        Rule(operations=("generation", "edit"), generators=frozenset({"diffusers_local", "openai_images"})),
    ] = Field(
        None,
        description="Images whose content or style the result takes up: by one of the model's `ip_adapters`, or as "
        "further input images of an edit, for models that take several. A mask is for `image`. Default: none.",
    )
    hires: Annotated[
        Hires | None, Rule(operations=("generation",), generators=frozenset({"diffusers_local", "fake"}))
    ] = Field(
        None, description="A second pass that enlarges the image and draws details at the larger size. Default: none."
    )
    tiling: Annotated[bool | None, Rule(generators=frozenset({"diffusers_local"}), neutral=(False,))] = Field(
        None, description="Seamless images: opposite edges match, as those of a texture. Default: false."
    )
    refiner: Annotated[Refiner | None, Rule(operations=("generation",), generators=frozenset({"diffusers_local"}))] = (
        Field(None, description="A second denoiser that draws the last steps, one of the model's `refiners`.")
    )
    seed: Annotated[int | None, Ge(0), Le(SEEDS - 1), Rule(microbatch=None)] = Field(
        None, description="Seed of the first image; image i has seed + i. Default: random."
    )
    deterministic: Annotated[bool | None, Rule(generators=frozenset({"diffusers_local", "fake"}))] = Field(
        None, description="Generate each image alone: neighbours on the device may change the last bits of its colours."
    )
    quality: Annotated[Quality, Rule(microbatch=None, receipt=False, from_catalog=True)] = Field(
        "auto", description="Effort for an image: one of the model's `qualities`. It may stand for a number of `steps`."
    )
    style: Annotated[Style | None, Rule(from_catalog=True)] = Field(
        None, description="Style of the images, one of the model's `styles`. Default: none."
    )
    background: Annotated[
        Literal["transparent", "opaque", "auto"] | None,
        Rule(receipt=False, generators=frozenset({"diffusers_local", "openai_images"}), neutral=("opaque", "auto")),
    ] = Field(
        None,
        description="Background of the images. A provider's model may make it transparent, and a model with a network "
        "for it.",
    )
    moderation_level: Annotated[
        Literal["low", "auto"] | None,
        Rule(microbatch=None, receipt=False, generators=frozenset({"openai_images"}), neutral=("auto",)),
    ] = Field(None, description="Moderation level of a provider. Default: that of the catalogue.")
    input_fidelity: Annotated[
        Literal["high", "low"] | None,
        Rule(microbatch=None, receipt=False, operations=("edit",), generators=frozenset({"openai_images"})),
    ] = Field(None, description="How closely a provider keeps to the input images of an edit.")
    output_format: Annotated[OutputFormat, Rule(microbatch=None, receipt=False)] = Field(
        "png", description="File format of the images."
    )
    output_compression: Annotated[int | None, Ge(0), Le(100), Rule(microbatch=None, receipt=False)] = Field(
        None, description="Quality of webp and jpeg files, in percent."
    )
    strength: Annotated[float | None, Gt(0), Le(1), Rule(operations=("edit",))] = Field(
        None, description="How much an edit changes `image`, up to 1 (nothing of it remains)."
    )
    postprocess: Annotated[Postprocess | None, Rule(microbatch=None)] = Field(
        None, description="Filters for the generated images."
    )
    partial_images: Annotated[int, Ge(0), Le(3), Rule(microbatch=None, receipt=False)] = Field(
        0, description="Number of previews of each image in the job's events during generation."
    )


class ResolvedParameters(Parameters):
    """The parameters of a job, with the model's defaults, as the database stores them.

    A job that was submitted by a newer version may have more parameters; see `unknown`.
    """

    model_config = ConfigDict(extra="allow")

    size: Annotated[str, Rule()]
    steps: Annotated[int, Ge(1), Rule()]
    guidance_scale: Annotated[float, Rule()]
    seed: Annotated[int, Ge(0), Le(SEEDS - 1), Rule(microbatch=None)]

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Self:
        """Read the JSON of a job's row."""
        return cls.model_validate(data, strict=False)

    def dump(self) -> dict[str, Any]:
        """Return the JSON of a job's row."""
        return self.model_dump(mode="json", exclude_none=True)

    @property
    def unknown(self) -> list[str]:
        """Names of parameters that this version does not know."""
        return sorted(self.model_extra or ())

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height at which the image is generated, in pixels."""
        return dimensions_of(self.size)

    @property
    def generated_size(self) -> str:
        """`WIDTHxHEIGHT` of the generated image: after the second pass, if there is one."""
        return (self.hires.size if self.hires is not None else None) or self.size

    @property
    def output_dimensions(self) -> tuple[int, int]:
        """Width and height of the result before `postprocess`, in pixels."""
        return dimensions_of(self.output_size or self.generated_size)

    def of_image(self, index: int) -> Self:
        """The parameters of one image of a job: image i has seed + i, modulo SEEDS."""
        seed = (self.seed + index) % SEEDS
        return self if seed == self.seed else self.model_copy(update={"seed": seed})


def dimensions_of(size: str) -> tuple[int, int]:
    """Width and height of `WIDTHxHEIGHT`, in pixels."""
    width, _, height = size.partition("x")
    return int(width), int(height)


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


@cache
def own_bounds() -> Mapping[str, tuple[float, float]]:
    """The least and the greatest value that any model may allow, by name, of the parameters that are arguments."""
    bounds: dict[str, tuple[float, float]] = {}
    for name, rule in rules().items():
        metadata = Parameters.model_fields[name].metadata
        minimum = [item.ge for item in metadata if isinstance(item, Ge)]
        maximum = [item.le for item in metadata if isinstance(item, Le)]
        if rule.is_argument and minimum and maximum:
            bounds[name] = cast(float, minimum[0]), cast(float, maximum[0])
    return bounds


@cache
def texts(*kinds: Literal["prompt", "negative"]) -> tuple[str, ...]:
    """The names of the parameters that are texts of these kinds."""
    return tuple(name for name, rule in rules().items() if rule.text in kinds)


def unsupported_by(generator: str) -> frozenset[str]:
    """The parameters that a generator does not support, from the rules of the parameters."""
    return frozenset(
        name for name, rule in rules().items() if rule.generators is not None and generator not in rule.generators
    )
