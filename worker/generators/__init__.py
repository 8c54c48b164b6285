"""The generators: each generates images with one kind of model, and implements the protocol of `core/generation.py`.

A generator's module is imported only when one of its models is built. So a worker needs only the libraries of the
models that it serves.
"""

from importlib import import_module
from typing import Any, cast

from core.catalog import Model
from core.generation import Generator, RemoteGenerator
from core.generation_errors import ModelUnavailable
from core.settings import Settings


def build(model: Model, settings: Settings) -> Generator:
    """The generator of a model, without its weights loaded. Raises ModelUnavailable."""
    return cast(Generator, _build(model, settings))


def build_remote(model: Model, settings: Settings) -> RemoteGenerator:
    """The generator of a model that a provider runs. Raises ModelUnavailable."""
    return cast(RemoteGenerator, _build(model, settings))


def _build(model: Model, settings: Settings) -> Any:
    module, _, name = model.spec.implementation.partition(":")
    try:
        generator = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        extra = model.spec.extra
        remedy = f"the generator {model.generator!r} is not installed"
        if extra is not None:
            remedy = f"install the extra {extra} of Safelight; `make install` in a checkout installs it"
        raise ModelUnavailable(f"Model {model.id} needs the module {error.name}: {remedy}.") from error
    return generator(model, settings)
