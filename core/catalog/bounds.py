"""The values that a model of the catalogue allows for a parameter: bounds, or a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict

from core.sizes import FreeSizes


@dataclass(frozen=True, slots=True)
class Range:
    """The default and the bounds of a numeric parameter, both included."""

    default: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Choices:
    """The default and the values of a parameter that is chosen from a list."""

    default: str | None
    values: Sequence[str]
    free: FreeSizes | None = None
    """Of sizes: bounds within which other values are allowed too."""


class Steps(BaseModel):
    """Denoising steps: the default and the bounds, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: Annotated[int, Ge(1)] = 20
    min: Annotated[int, Ge(1)] = 1
    max: Annotated[int, Ge(1)] = 100


class Guidance(BaseModel):
    """Classifier-free guidance scale (`w` of equation 2 of Imagen, arXiv:2205.11487): the default and the bounds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: float = 5.0
    min: float = 0.0
    max: float = 30.0


class StyleSpec(BaseModel):
    """What a style of DALL·E 3 means to a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_suffix: str = ""
    guidance_scale: float | None = None
