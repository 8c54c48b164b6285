"""The second pass of a generation: the image is enlarged, and drawn over at the larger size.

The first pass draws the layout at a size that the model was trained for; the second adds detail. AUTOMATIC1111's webui
calls it hires fix.
"""

import math
from typing import Annotated, Final, Literal, Self

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from core.errors import InvalidParameter
from core.model_files.weights import check_folder
from core.text import quote, shorten

MAX_SIDE = 4096
"""The longest side of the result, in pixels."""

LANCZOS: Final = "lanczos"
LatentUpscaler = Literal[
    "latent",
    "latent_antialiased",
    "latent_bicubic",
    "latent_bicubic_antialiased",
    "latent_nearest",
    "latent_nearest_exact",
]
"""Upscalers that enlarge the latents of the first pass, instead of its image; `latent` is bilinear."""
UpscalerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]

Side = Annotated[int, Ge(16), Le(MAX_SIDE)]
Strength = Annotated[float, Gt(0), Le(1)]


class Hires(BaseModel):
    """The second pass of a request: by `scale`, or to `width` and `height`. `{}` takes the model's defaults."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    scale: Annotated[float, Gt(1), Le(8)] | None = Field(
        None, allow_inf_nan=False, description="Factor for both sides. Default: the largest that the model allows."
    )
    width: Side | None = Field(None, description="Width of the result in pixels, with `height`, instead of `scale`.")
    height: Side | None = Field(None, description="Height of the result in pixels.")
    strength: Strength | None = Field(
        None, allow_inf_nan=False, description="How much the second pass changes the enlarged image."
    )
    steps: Annotated[int, Ge(1)] | None = Field(
        None, description="Denoising steps, of which the second pass does the share `strength`. Default: `steps`."
    )
    upscaler: Annotated[str, Field(min_length=1, max_length=64)] = Field(
        LANCZOS, description="How the image is enlarged: `lanczos`, or another of the model's `hires.upscalers`."
    )

    @model_validator(mode="after")
    def _has_one_size(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("must have both width and height, or neither")
        if self.scale is not None and self.width is not None:
            raise ValueError("must have scale, or width and height, not both")
        return self

    @property
    def size(self) -> str | None:
        """`WIDTHxHEIGHT` of the result; None if the request has none."""
        return None if self.width is None else f"{self.width}x{self.height}"

    def keeps_ratio(self, dimensions: tuple[int, int]) -> bool:
        """Whether width and height, if there are any, have the ratio of these."""
        return self.width is None or self.height is None or self.width * dimensions[1] == self.height * dimensions[0]


class Upscaler(BaseModel):
    """A network that enlarges images, in the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: UpscalerName
    source: Annotated[str, AfterValidator(check_folder)] = Field(exclude=True)
    description: str = ""


class HiresSpec(BaseModel):
    """The bounds of a model's second pass."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_scale: Annotated[float, Gt(1), Le(8)] = 2.0
    strength: Strength = 0.5
    multiple: Annotated[int, Ge(1), Le(256)] = Field(16, description="Both sides are multiples of it.")
    upscalers: Annotated[tuple[Literal["lanczos"] | LatentUpscaler, ...], MinLen(1)] = Field(
        (LANCZOS,), description="Values of `upscaler`, beside the names of `networks`."
    )
    networks: tuple[Upscaler, ...] = Field((), description="Networks that enlarge images, as values of `upscaler`.")

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = self.names
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"upscalers and networks: duplicate names: {', '.join(sorted(duplicates))}")
        if LANCZOS not in self.upscalers:
            raise ValueError("upscalers must have lanczos, which requests without an upscaler get")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The upscalers that a request may name."""
        return (*self.upscalers, *(network.name for network in self.networks))

    def nearest(self, width: int, height: int, target: tuple[float, float]) -> tuple[int, int]:
        """The size nearest to a target that the second pass may have after a first one of width and height."""
        sides = []
        for side, other in zip((width, height), target, strict=True):
            limit = min(side * self.max_scale, MAX_SIDE) // self.multiple * self.multiple
            sides.append(max(side, min(round(other / self.multiple) * self.multiple, int(limit))))
        return sides[0], sides[1]


def min_strength(steps: int) -> float:
    """The minimum strength that leaves one of these steps, to four digits. Pipelines round the steps down."""
    return math.ceil(10_000 / steps) / 10_000


def resolve_hires(
    hires: Hires | None, spec: HiresSpec | None, size: tuple[int, int], steps: int, bounds: tuple[int, int]
) -> Hires | None:
    """A second pass with its size, strength and steps; None for none. Raises InvalidParameter.

    size, steps: of the first pass. bounds: the model's minimum and maximum of steps, for either pass.
    """
    if hires is None or spec is None:
        return None
    if hires.upscaler not in spec.names:
        raise InvalidParameter(
            f"hires.upscaler {quote(hires.upscaler)} is not available here; choose from {', '.join(spec.names)}.",
            param="hires.upscaler",
        )
    scale = hires.scale or spec.max_scale
    if scale > spec.max_scale:
        raise InvalidParameter(
            f"hires.scale is {scale:g}; the allowed range is above 1 to {spec.max_scale:g}.", param="hires.scale"
        )
    width, height = hires.width, hires.height
    if width is None or height is None:
        width, height = spec.nearest(*size, (size[0] * scale, size[1] * scale))
    near = spec.nearest(*size, (width, height))
    if near != (width, height) or near == size:
        raise InvalidParameter(
            f"hires: {width}x{height} is not available after {size[0]}x{size[1]}: no side may be shorter, or longer "
            f"than {spec.max_scale:g} times, and both must be multiples of {spec.multiple}. The nearest is "
            f"{near[0]}x{near[1]}.",
            param="hires.width",
        )
    second_steps = steps if hires.steps is None else hires.steps
    if not bounds[0] <= second_steps <= bounds[1]:
        raise InvalidParameter(
            f"hires.steps is {shorten(str(second_steps))}; the allowed range is {bounds[0]} to {bounds[1]}.",
            param="hires.steps",
        )
    strength = spec.strength if hires.strength is None else hires.strength
    if int(second_steps * strength) < 1:
        raise InvalidParameter(
            f"hires.strength is {strength:g}, which leaves none of {second_steps} steps; at least "
            f"{min_strength(second_steps):g} leaves a step.",
            param="hires.strength",
        )
    return Hires(
        width=width,
        height=height,
        strength=strength,
        steps=second_steps,
        upscaler=hires.upscaler,
    )
