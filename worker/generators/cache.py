"""The cache of a denoiser, which skips work between similar steps, for the pipelines that use it.

A pipeline says at each call of its denoiser which of its calls it is (`cache_context`). Not all do: of FLUX.1 only
text-to-image. A cache fails in a call without it. The kind `sea` also needs the step, and does nothing without it.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from core.catalog import Model
from core.generation_errors import ModelUnavailable
from worker.generators.denoiser import denoisers


def check_cache(model: Model, pipes: Sequence[Any]) -> None:
    """Raises ModelUnavailable if the catalogue sets a cache that none of the model's pipelines uses."""
    if model.cache is not None and not any(uses_cache(model, pipe) for pipe in pipes):
        names = " and ".join(sorted({type(pipe).__name__ for pipe in pipes}))
        raise ModelUnavailable(
            f"Model {model.id}: {names} cannot use a cache of kind {model.cache.kind}; remove its `cache`."
        )


def uses_cache(model: Model, pipe: Any) -> bool:
    """Whether a call of the pipeline uses the model's cache. False if it has none."""
    if model.cache is None:
        return False
    code = inspect.unwrap(type(pipe).__call__).__code__
    if model.cache.kind == "sea":
        return any(isinstance(names, tuple) and "step_index" in names for names in code.co_consts)
    return "cache_context" in code.co_names


@contextmanager
def cache_only_if_used(model: Model, pipe: Any) -> Iterator[None]:
    """Turn the cache off for a call of a pipeline that does not use it."""
    networks: list[Any] = []
    if not uses_cache(model, pipe):
        networks = [network for network in denoisers(pipe) if getattr(network, "is_cache_enabled", False)]
    configs = [network._cache_config for network in networks]
    for network in networks:
        network.disable_cache()
    try:
        yield
    finally:
        for network, config in zip(networks, configs, strict=True):
            network.enable_cache(config)
