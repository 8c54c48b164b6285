"""The catalogue: what models there are, what each can do, and which values a request may take.

Read from `models/catalog.toml` (or the file that `SAFELIGHT_CATALOG` names). The API validates against it without
torch; the worker builds generators from it. Nothing here loads a model.
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt, Le, MinLen
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from core.errors import ModelNotFound
from core.generators import GENERATORS, GeneratorSpec
from core.parameters import Operation, Quality, lacked_by, rules
from core.settings import Settings

Size = Annotated[str, Field(pattern=r"^[1-9]\d{1,3}x[1-9]\d{1,3}$")]


def _check_generator(name: str) -> str:
    if name not in GENERATORS:
        raise ValueError(f"there is no generator {name!r}; there are {', '.join(GENERATORS)}")
    return name


@dataclass(frozen=True, slots=True)
class Range:
    """The values of a numeric parameter, bounds included, and its default."""

    default: float
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Choices:
    """The values of a parameter that is chosen from a list, and its default."""

    default: str | None
    values: Sequence[str]


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
    generator: Annotated[str, AfterValidator(_check_generator)] = Field(description="Kind of generator; see below.")
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
    qualities: tuple[Quality, ...] = Field((), description="Values of `quality` beside `auto`. Only for providers.")
    choices: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Values of other parameters that are chosen from a list, by name."
    )
    strength: Annotated[float, Gt(0), Le(1)] = Field(0.75, description="Default strength of edits.")
    max_images: Annotated[int, Ge(1), Le(64)] = Field(10, description="Largest n of one job.")
    max_prompt_chars: Annotated[int, Ge(1)] = 4000
    microbatch_size: Annotated[int, Ge(1), Le(256)] = Field(
        4,
        description="Images that go through the device together.",
        validation_alias=AliasChoices("microbatch_size", "microbatch"),  # its name in version 0.1
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
    def _fits_the_generator(self) -> "Model":
        if missing := set(self.operations) - set(self.spec.operations):
            raise ValueError(
                f"{self.generator} has no operation {min(missing)}; it has {', '.join(self.spec.operations)}"
            )
        if self.is_remote and self.microbatch_size != 1:
            raise ValueError(f"microbatch_size must be 1 for {self.generator}: each job is a call of its own")
        if self.qualities and not self.is_remote:
            raise ValueError(f"qualities: {self.generator} has none")
        return self

    @model_validator(mode="after")
    def _choices_are_of_parameters(self) -> "Model":
        known = [name for name, rule in rules().items() if rule.from_catalog and name != "quality"]
        if unknown := self.choices.keys() - set(known):
            raise ValueError(f"choices: {min(unknown)!r} is no such parameter; there are: {', '.join(known) or 'none'}")
        return self

    @property
    def spec(self) -> GeneratorSpec:
        """The registry's row of the model's generator."""
        return GENERATORS[self.generator]

    @property
    def is_remote(self) -> bool:
        """Whether a provider generates the images, so that no device is needed here."""
        return self.spec.is_remote

    @property
    def lacks(self) -> frozenset[str]:
        """Parameters that the model does not have: a request that names one is refused."""
        unlisted = {name for name, rule in rules().items() if rule.from_catalog and self.limit(name) is None}
        return self.spec.lacks | lacked_by(self.generator) | unlisted

    def limit(self, parameter: str) -> Range | Choices | None:
        """The values that the catalogue allows for a parameter; None: it says nothing of it."""
        match parameter:
            case "size":
                return Choices(self.size, self.sizes)
            case "steps":
                return Range(self.steps.default, self.steps.min, self.steps.max)
            case "guidance_scale":
                return Range(self.guidance_scale.default, self.guidance_scale.min, self.guidance_scale.max)
            case "quality":
                return Choices("auto", ("auto", *self.qualities)) if self.qualities else None
            case _ if parameter in self.choices:
                return Choices(None, self.choices[parameter])
        return None

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

    def offered(self, settings: Settings) -> "Catalog":
        """The catalogue without the models that lack a setting here. Raises CatalogError if the default is one."""
        withheld = {model.id: name for model in self.models if (name := _missing_setting(model, settings)) is not None}
        if not withheld:
            return self
        if self.default in withheld:
            raise CatalogError(f"The default model {self.default!r} needs {withheld[self.default]}.")
        offered = Catalog(
            default=self.default, models=tuple(model for model in self.models if model.id not in withheld)
        )
        for model in self.models:
            if model.id in withheld:
                offered._withheld |= dict.fromkeys((model.id, *model.aliases), withheld[model.id])
        return offered

    def is_remote(self, queue: str) -> bool:
        """Whether a queue's jobs are drawn by a provider."""
        return any(model.is_remote for model in self.models if model.queue == queue)

    def model(self, name: str | None) -> Model:
        """The model that a request means by a name or an alias; the default for None. Raises ModelNotFound."""
        name = name or self.default
        for model in self.models:
            if name == model.id or name in model.aliases:
                return model
        if setting := self._withheld.get(name):
            raise ModelNotFound(f"The model {name!r} is not offered here: that needs {setting}.", param="model")
        known = ", ".join(model.id for model in self.models)
        raise ModelNotFound(f"The model {name!r} does not exist. Models here: {known}.", param="model")

    def able_to(self, operation: str) -> tuple[str, ...]:
        """The models that have an operation."""
        return tuple(model.id for model in self.models if operation in model.operations)

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue that some model's jobs wait in."""
        return tuple(sorted({model.queue for model in self.models}))


def _missing_setting(model: Model, settings: Settings) -> str | None:
    """The variable that must be set before a model can be offered; None: it can."""
    name = model.spec.setting
    return None if name is None or getattr(settings, name) is not None else f"SAFELIGHT_{name.upper()}"


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
