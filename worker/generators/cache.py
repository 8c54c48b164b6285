"""The cache of a denoiser, which skips work between similar steps, for the pipelines that use it.

A pipeline says at each call of its denoiser which of its calls it is (`cache_context`). Not all do: of FLUX.1 only
text-to-image. A cache fails in a call without it. The kind `sea` also needs the step, and does nothing without it.

diffusers' FasterCache and pyramid attention broadcast are not offered: they keep one state for the calls with and
without the prompt, which the pipelines for images make in turn, so that each would get the other's attention.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from diffusers import FirstBlockCacheConfig, MagCacheConfig, SeaCacheConfig, TaylorSeerCacheConfig
from diffusers.hooks.mag_cache import FLUX_MAG_RATIOS

from core.catalog import Model
from core.generation_errors import ModelUnavailable
from worker.generators.denoiser import denoisers

_KNOWN_RATIOS: Final = {"FluxTransformer2DModel": FLUX_MAG_RATIOS.tolist()}
"""By network, how much the output of one step is larger than that of the step before, as diffusers knows it."""


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


def cache_config(model: Model, network: Any, dtype: torch.dtype, steps: int) -> Any:
    """diffusers' configuration of the model's cache, for calls of so many steps. Raises ModelUnavailable."""
    cache = model.cache
    if cache is None:
        raise ValueError(f"model {model.id} has no cache")
    if cache.kind == "taylorseer":
        interval = {} if cache.interval is None else {"cache_interval": cache.interval}
        return TaylorSeerCacheConfig(**interval, taylor_factors_dtype=dtype)
    threshold = {} if cache.threshold is None else {"threshold": cache.threshold}
    if cache.kind == "mag":
        ratios = list(cache.ratios) or _KNOWN_RATIOS.get(type(network).__name__)
        if ratios is None:
            name = type(network).__name__
            raise ModelUnavailable(f"Model {model.id}: a cache of kind mag needs `ratios` for {name}.")
        return MagCacheConfig(**threshold, mag_ratios=ratios, num_inference_steps=steps)
    return FirstBlockCacheConfig(**threshold) if cache.kind == "first_block" else SeaCacheConfig(**threshold)


@contextmanager
def cache_of_call(model: Model, pipe: Any, steps: int) -> Iterator[None]:
    """Turn the cache off for a call of a pipeline that does not use it. `mag` must know the steps of the call."""
    if model.cache is not None and model.cache.kind == "mag" and uses_cache(model, pipe):
        networks = list[Any](denoisers(pipe))
        for network in networks:
            if network.is_cache_enabled and network._cache_config.num_inference_steps != steps:
                network.disable_cache()
                network.enable_cache(cache_config(model, network, network.dtype, steps))
    unused: list[Any] = []
    if not uses_cache(model, pipe):
        unused = [network for network in denoisers(pipe) if getattr(network, "is_cache_enabled", False)]
    configs = [network._cache_config for network in unused]
    for network in unused:
        network.disable_cache()
    try:
        yield
    finally:
        for network, config in zip(unused, configs, strict=True):
            network.enable_cache(config)
