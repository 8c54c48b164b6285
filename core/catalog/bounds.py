"""The values that a model of the catalogue allows for a parameter: bounds, or a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict, Field

from core.parameters.job import Parameters, own_bounds
from core.parameters.sizes import FreeSizes


@dataclass(frozen=True, slots=True)
class Range:
    """The default and the bounds of a numeric parameter, both included. default: None is the pipeline's own value."""

    default: float | None
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


class ParameterBounds(BaseModel):
    """What a model allows for a parameter that only some models have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: int | float | None = Field(None, description="Null: the pipeline's own.")
    min: int | float | None = Field(None, description="Null: the parameter's own.")
    max: int | float | None = Field(None, description="Null: the parameter's own.")

    def range_of(self, name: str) -> Range | None:
        """The range of a parameter; None of one that is no number. Raises ValueError if it is not one of its values."""
        if (widest := own_bounds().get(name)) is None:
            if self != ParameterBounds():
                raise ValueError(f"parameters: {name} is a text and has no bounds; write {name} = {{}}")
            return None
        minimum = widest[0] if self.min is None else self.min
        maximum = widest[1] if self.max is None else self.max
        if not widest[0] <= minimum <= maximum <= widest[1]:
            raise ValueError(f"parameters: min and max of {name} must lie within {widest[0]} and {widest[1]}")
        if self.default is not None:
            if not minimum <= self.default <= maximum:
                raise ValueError(f"parameters: the default of {name} must lie between its min and max")
            Parameters.model_validate({name: self.default})
        return Range(self.default, minimum, maximum)


class StyleSpec(BaseModel):
    """What a style of DALL·E 3 means to a model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_suffix: str = ""
    guidance_scale: float | None = None
