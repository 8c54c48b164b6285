"""The catalogue: the models, their operations, and the values that requests may have.

It is read from `models/catalog.toml` (or the file in `SAFELIGHT_CATALOG`). The API validates requests with it and does
not need torch; the worker builds generators from it. This module loads no model.
"""

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from annotated_types import MinLen
from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, field_validator, model_validator

from core.catalog.bounds import Choices, Guidance, ParameterBounds, Range, Steps
from core.catalog.model import Model
from core.errors import ModelNotFound
from core.settings import Settings
from core.text import quote

__all__ = [
    "Catalog", "CatalogError", "Choices", "Guidance", "Model", "ParameterBounds", "Range", "Steps", "load_catalog",
    "parse_catalog",
]  # fmt: skip


class CatalogError(Exception):
    """The catalogue file is missing or invalid; the message names the file, the model and the field."""


class Catalog(BaseModel):
    """All models, and the default model for requests without one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default: str
    models: Annotated[tuple[Model, ...], MinLen(1)]

    @field_validator("models")
    @classmethod
    def _names_are_unique(cls, models: tuple[Model, ...]) -> tuple[Model, ...]:
        names = [name for model in models for name in (model.id, *model.aliases)]
        if duplicates := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"duplicate names: {', '.join(sorted(duplicates))}")
        return models

    @model_validator(mode="after")
    def _default_exists(self) -> "Catalog":
        if self.default not in {model.id for model in self.models}:
            raise ValueError(f"default {self.default!r} is not the id of a model")
        return self

    @model_validator(mode="after")
    def _queues_are_of_one_kind(self) -> "Catalog":
        remote_queues = {model.queue for model in self.models if model.is_remote}
        if conflicts := remote_queues & {model.queue for model in self.models if not model.is_remote}:
            raise ValueError(f"queue {min(conflicts)!r} has models that need a device and models that do not")
        return self

    _missing_settings: dict[str, str] = PrivateAttr(default_factory=dict)
    _fine_tuned: dict[str, Model] = PrivateAttr(default_factory=dict)

    def with_fine_tuned(self, base_models: Mapping[str, str]) -> "Catalog":
        """The catalogue with models that a project has trained: by name, the id of the model that each is a LoRA of.

        The name stands for its base model with the LoRA. The LoRAs can be named in `loras` of the base model, too.
        """
        names: dict[str, list[str]] = {}
        for name, base in base_models.items():
            names.setdefault(base, []).append(name)
        models = tuple(model.with_fine_tuned(names.get(model.id, ())) for model in self.models)
        catalog = Catalog.model_construct(default=self.default, models=models)
        catalog._missing_settings = self._missing_settings
        for model in models:
            for name in names.get(model.id, ()):
                catalog._fine_tuned[name] = model.with_fine_tuned((), name)
        return catalog

    def with_networks(self, class_of: Callable[[str], str]) -> "Catalog":
        """The catalogue with the class of each control network. class_of: of a folder, by its source."""
        models = tuple(
            model.model_copy(
                update={"controls": tuple(spec.with_network(class_of(spec.source)) for spec in model.controls)}
            )
            if model.controls
            else model
            for model in self.models
        )
        return self.model_copy(update={"models": models})

    def available(self, settings: Settings) -> "Catalog":
        """The catalogue without the models whose setting is missing. Raises CatalogError if the default is one."""
        missing = {model.id: name for model in self.models if (name := _missing_setting(model, settings)) is not None}
        if not missing:
            return self
        if self.default in missing:
            raise CatalogError(f"The default model {self.default!r} needs {missing[self.default]}.")
        catalog = Catalog(default=self.default, models=tuple(model for model in self.models if model.id not in missing))
        for model in self.models:
            if model.id in missing:
                catalog._missing_settings |= dict.fromkeys((model.id, *model.aliases), missing[model.id])
        return catalog

    def is_remote(self, queue: str) -> bool:
        """Whether a provider generates the images of a queue's jobs."""
        return any(model.is_remote for model in self.models if model.queue == queue)

    def model(self, name: str | None) -> Model:
        """The model with a name or alias; the default for None. Raises ModelNotFound."""
        name = name or self.default
        if name in self._fine_tuned:
            return self._fine_tuned[name]
        for model in self.models:
            if name == model.id or name in model.aliases:
                return model
        if setting := self._missing_settings.get(name):
            raise ModelNotFound(f"The model {name!r} is not available, because {setting} is not set.", param="model")
        names = ", ".join(model.id for model in self.models)
        raise ModelNotFound(f"The model {quote(name)} does not exist. Available models: {names}.", param="model")

    def models_for(self, operation: str) -> tuple[str, ...]:
        """The ids of the models that support an operation."""
        return tuple(model.id for model in self.models if operation in model.operations)

    @property
    def queues(self) -> tuple[str, ...]:
        """The queues of all models."""
        return tuple(sorted({model.queue for model in self.models}))


def _missing_setting(model: Model, settings: Settings) -> str | None:
    """The environment variable that a model needs and that is not set; None if the model is available."""
    name = model.spec.setting
    return None if name is None or getattr(settings, name) is not None else f"SAFELIGHT_{name.upper()}"


def load_catalog(path: Path) -> Catalog:
    """Read and check a catalogue file. Raises CatalogError with the location and the reason."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise CatalogError(f"There is no catalogue at {path}; set SAFELIGHT_CATALOG to one.") from None
    except UnicodeDecodeError as error:
        raise CatalogError(f"{path} is not UTF-8: {error.reason} at byte {error.start}.") from None
    return parse_catalog(text, path)


def parse_catalog(text: str, path: Path) -> Catalog:
    """Check the text of a catalogue file. path: for messages. Raises CatalogError with the location and the reason."""
    try:
        return Catalog.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        location = ".".join(str(part) for part in first["loc"])
        raise CatalogError(f"{path}: {location}: {first['msg']}") from error
