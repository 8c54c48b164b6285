"""LoRAs: small additional weights of a model, as the catalogue lists them and as requests name them."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any

from annotated_types import Ge, Le
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from core.errors import InvalidParameter
from core.text import quote

MAX_LORAS = 8
"""LoRAs of a request, and those that a worker keeps loaded for a model."""
MAX_WEIGHT = 4.0

LoraName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$")]
LoraWeight = Annotated[float, Ge(-MAX_WEIGHT), Le(MAX_WEIGHT)]


FINE_TUNED = "ft:"
"""How the names of fine-tuned models begin, as at OpenAI."""


def is_fine_tuned(name: str) -> bool:
    """Whether a name is that of a model that a project has trained: a LoRA that is not in the catalogue."""
    return name.startswith(FINE_TUNED) and name.isprintable()  # Postgres could not compare a NUL


def check_file(name: str) -> str:
    """Check that a name is that of a safetensors file below a directory. Raises ValueError."""
    path = PurePosixPath(name)
    if path.suffix != ".safetensors" or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} must be a .safetensors file in models_dir")
    return name


class Lora(BaseModel):
    """A LoRA of the model, and how strongly it acts. `name:weight` is read too, for forms and the command line."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)] = Field(
        description="One of the model's, or a model that your project has fine-tuned."
    )
    weight: LoraWeight | None = Field(
        None, allow_inf_nan=False, description="0 changes nothing. Default: the catalogue's weight of the LoRA."
    )

    @model_validator(mode="before")
    @classmethod
    def _read_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if is_fine_tuned(value):  # its name has colons; such a LoRA has a weight in JSON only
            return {"name": value}
        name, _, weight = value.partition(":")
        try:
            return {"name": name, "weight": float(weight)} if weight else {"name": name}
        except ValueError:
            raise ValueError(f"{quote(value)} must be name:weight, such as pixel:0.8") from None


class LoraSpec(BaseModel):
    """A LoRA of a model in the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: LoraName
    file: Annotated[str, AfterValidator(check_file)] = Field(exclude=True)
    weight: LoraWeight = 1.0
    trigger: str = Field("", description="Words of a prompt with which the LoRA was trained.")


def check_unique(loras: tuple[LoraSpec, ...]) -> tuple[LoraSpec, ...]:
    """Check that each name occurs once. Raises ValueError."""
    names = [lora.name for lora in loras]
    if duplicates := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"duplicate names: {', '.join(sorted(duplicates))}")
    return loras


def resolve_loras(loras: Sequence[Lora], specs: Sequence[LoraSpec], model_id: str) -> list[Lora] | None:
    """The LoRAs of a request, each with a weight; None for none. Raises InvalidParameter for an unknown name."""
    weights = {spec.name: spec.weight for spec in specs}
    names = [lora.name for lora in loras]
    for name in names:
        if name not in weights:
            available = ", ".join(weights)
            raise InvalidParameter(
                f"loras: {quote(name)} is not available for {model_id}; choose from {available}.", param="loras"
            )
        if names.count(name) > 1:
            raise InvalidParameter(f"loras: {quote(name)} must occur only once.", param="loras")
    if len(names) > MAX_LORAS:
        raise InvalidParameter(f"loras: there may be at most {MAX_LORAS}, with that of the model.", param="loras")
    return [
        lora if lora.weight is not None else Lora(name=lora.name, weight=weights[lora.name]) for lora in loras
    ] or None
