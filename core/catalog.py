"""The catalogue: what models there are, what each can do, and which values a request may take.

Read from `models/catalog.toml` (or the file that `SAFELIGHT_CATALOG` names). The API validates against it without
torch; the worker builds generators from it. Nothing here loads a model.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator

from core.errors import ModelNotFound

Operation = Literal["generation", "edit", "variation"]
GeneratorName = Literal["diffusers_local", "fake", "openai_images"]
Quality = Literal["auto", "low", "medium", "high", "xhigh", "max"]
"""How carefully a provider draws, in OpenAI's words."""
Size = Annotated[str, Field(pattern=r"^[1-9]\d{1,3}x[1-9]\d{1,3}$")]


_LACKS: dict[str, tuple[str, ...]] = {
    "openai_images": ("negative_prompt", "seed", "steps", "guidance_scale", "strength"),
}
"""By generator, the fields of a request that it could only drop."""


class CatalogError(Exception):
    """The catalogue file is missing or wrong; the message names the file, the model and the field."""


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


class Model(BaseModel):
    """One entry of the catalogue: a name that API users may ask for, and all that is known about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,127}$")]
    generator: GeneratorName
    source: str = Field("", description="Folder (relative to models_dir) or hub id of a diffusers pipeline.")
    revision: str | None = Field(None, description="Commit of the hub repository; part of the micro-batch key.")
    queue: Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,32}$")] = "local"
    description: str = ""
    licence: str = ""
    aliases: tuple[str, ...] = ()
    created: int = Field(0, description="Unix time, for the `created` of OpenAI's model object.")
    operations: Annotated[tuple[Operation, ...], MinLen(1)] = ("generation",)
    sizes: Annotated[tuple[Size, ...], MinLen(1)] = ("512x512",)
    default_size: Size | None = Field(None, description="What `auto` means. Default: the first of sizes.")
    steps: Steps = Steps()
    guidance_scale: Guidance = Guidance()
    qualities: tuple[Quality, ...] = Field((), description="What `quality` may be, beside `auto`; only a provider's.")
    strength: Annotated[float, Gt(0), Le(1)] = Field(0.75, description="How far an edit goes that does not say.")
    max_images: Annotated[int, Ge(1), Le(64)] = Field(10, description="Largest n of one job.")
    max_prompt_chars: Annotated[int, Ge(1)] = 4000
    microbatch_size: Annotated[int, Ge(1), Le(256)] = Field(
        4, description="Images that go through the device together."
    )
    seconds_per_image: Annotated[float, Gt(0)] = Field(
        1.0,
        description="Device-seconds an image of default size and steps costs: for fair order and estimates.",
    )
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="Settings of the generator itself, such as the fake one's step_seconds.",
    )

    @model_validator(mode="after")
    def _defaults_are_allowed(self) -> "Model":
        if self.default_size is not None and self.default_size not in self.sizes:
            raise ValueError(f"default_size {self.default_size} is not one of sizes")
        for name, bounds in (("steps", self.steps), ("guidance_scale", self.guidance_scale)):
            if not bounds.min <= bounds.default <= bounds.max:
                raise ValueError(f"{name}: default must lie between min and max")
        return self

    @model_validator(mode="after")
    def _calls_stand_alone(self) -> "Model":
        if self.is_remote and self.microbatch_size != 1:
            raise ValueError(f"microbatch must be 1 for {self.generator}: each job is a call of its own")
        if self.is_remote and "variation" in self.operations:
            raise ValueError(f"operations of {self.generator} are generation and edit")
        if self.qualities and not self.is_remote:
            raise ValueError(f"qualities: {self.generator} has none")
        return self

    @property
    def is_remote(self) -> bool:
        """Whether a provider draws, so that no device is needed here."""
        return self.generator == "openai_images"

    @property
    def lacks(self) -> tuple[str, ...]:
        """Fields of a request that mean nothing to the model."""
        lacked = _LACKS.get(self.generator, ())
        return lacked if self.qualities else (*lacked, "quality")

    @property
    def size(self) -> str:
        """The size that a request gets when it names none."""
        return self.default_size or self.sizes[0]


class Catalog(BaseModel):
    """All models, and which one a request gets that names none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str
    models: Annotated[tuple[Model, ...], MinLen(1)]

    @field_validator("models")
    @classmethod
    def _names_are_unique(cls, models: tuple[Model, ...]) -> tuple[Model, ...]:
        names = [name for model in models for name in (model.id, *model.aliases)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"named twice: {', '.join(sorted(twice))}")
        return models

    @model_validator(mode="after")
    def _default_exists(self) -> "Catalog":
        if self.default not in {model.id for model in self.models}:
            raise ValueError(f"default {self.default!r} is not the id of a model")
        return self

    @model_validator(mode="after")
    def _queues_are_of_one_kind(self) -> "Catalog":
        remote = {model.queue for model in self.models if model.is_remote}
        if mixed := remote & {model.queue for model in self.models if not model.is_remote}:
            raise ValueError(f"queue {min(mixed)!r} has models that need a device and models that do not")
        return self

    _withheld: dict[str, str] = PrivateAttr(default_factory=dict)

    def offered(self, *, openai: bool) -> "Catalog":
        """The catalogue without the models that lack a setting here. Raises CatalogError if the default is one."""
        if openai:
            return self
        kept = tuple(model for model in self.models if not model.is_remote)
        if self.default not in {model.id for model in kept}:
            raise CatalogError(f"The default model {self.default!r} needs SAFELIGHT_OPENAI_API_KEY.")
        offered = Catalog(default=self.default, models=kept)
        for model in self.models:
            if model.is_remote:
                offered._withheld |= dict.fromkeys((model.id, *model.aliases), "SAFELIGHT_OPENAI_API_KEY")
        return offered

    def is_remote(self, queue: str) -> bool:
        """Whether a queue's jobs are drawn by a provider."""
        return any(model.is_remote for model in self.models if model.queue == queue)

    def model(self, name: str | None) -> Model:
        """The model that a request means by a name or an alias; the default for None. Raises ModelNotFound."""
        wanted = name or self.default
        for model in self.models:
            if wanted == model.id or wanted in model.aliases:
                return model
        if setting := self._withheld.get(wanted):
            raise ModelNotFound(f"The model {wanted!r} is not offered here: that needs {setting}.", param="model")
        known = ", ".join(model.id for model in self.models)
        raise ModelNotFound(f"The model {wanted!r} does not exist. Models here: {known}.", param="model")

    def able_to(self, operation: str) -> tuple[str, ...]:
        """The models that have an operation."""
        return tuple(model.id for model in self.models if operation in model.operations)

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue that some model's jobs wait in."""
        return tuple(sorted({model.queue for model in self.models}))


def load_catalog(path: Path) -> Catalog:
    """Read and check a catalogue file. Raises CatalogError with the place and the reason."""
    try:
        with path.open("rb") as file:
            return Catalog.model_validate(tomllib.load(file))
    except FileNotFoundError:
        raise CatalogError(f"There is no catalogue at {path}; set SAFELIGHT_CATALOG to one.") from None
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise CatalogError(f"{path}: {where}: {first['msg']}") from error
