"""Refiners: a second denoiser that draws the last steps of a generation, as Stable Diffusion XL has one.

The catalogue lists a model's refiners by name; a request names one, and the share of the steps after which it begins.
"""

from collections.abc import Sequence
from typing import Annotated

from annotated_types import Gt, Lt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from core.errors import InvalidParameter
from core.model_files.weights import check_folder
from core.text import quote

RefinerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Switch = Annotated[float, Gt(0), Lt(1)]


class Refiner(BaseModel):
    """The refiner of a request. `{}` takes the model's first."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    model: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        None, description="One of the model's `refiners`. Default: the first."
    )
    switch_at: Switch | None = Field(
        None, allow_inf_nan=False, description="The share of the steps after which it begins. Default: the catalogue's."
    )


class RefinerSpec(BaseModel):
    """A refiner of a model in the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: RefinerName
    source: Annotated[str, AfterValidator(check_folder)] = Field(exclude=True)
    switch_at: Switch = 0.8
    description: str = ""


def check_refiners(refiners: tuple[RefinerSpec, ...]) -> tuple[RefinerSpec, ...]:
    """Check that each name occurs once. Raises ValueError."""
    names = [refiner.name for refiner in refiners]
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"duplicate names: {', '.join(sorted(duplicates))}")
    return refiners


def resolve_refiner(refiner: Refiner | None, specs: Sequence[RefinerSpec], steps: int, model_id: str) -> Refiner | None:
    """A refiner with its name and its share; None for none. Raises InvalidParameter."""
    if refiner is None or not specs:
        return None
    spec = next((spec for spec in specs if refiner.model in (None, spec.name)), None)
    if spec is None:
        raise InvalidParameter(
            f"refiner.model {quote(refiner.model or '')} is not available for {model_id}; choose from "
            f"{', '.join(spec.name for spec in specs)}.",
            param="refiner.model",
        )
    switch_at = spec.switch_at if refiner.switch_at is None else refiner.switch_at
    if not 1 <= round(steps * switch_at) < steps:
        raise InvalidParameter(
            f"refiner.switch_at is {switch_at:g}, which leaves none of {steps} steps for one of the two models.",
            param="refiner.switch_at",
        )
    return Refiner(model=spec.name, switch_at=switch_at)
