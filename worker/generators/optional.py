"""Checks when a model is loaded that its pipelines have the parameters that the catalogue lists for it."""

import inspect
from collections.abc import Sequence
from typing import Any

from transformers import CLIPTextModel, CLIPTextModelWithProjection

from core.catalog import Model, Range
from core.generation_errors import ModelUnavailable
from worker.generators.call import call_parameters


def check_parameters(model: Model, pipes: Sequence[Any], schedulers: Sequence[Any]) -> None:
    """Check the catalogue's `parameters`. Raises ModelUnavailable for one that no pipeline of the model can honour."""
    for name in model.parameters:
        if not any(name in call_parameters(pipe) for pipe in pipes):
            names = " and ".join(sorted({type(pipe).__name__ for pipe in pipes}))
            raise ModelUnavailable(f"Model {model.id}: {names} takes no {name}; remove it from `parameters`.")
    if "eta" in model.parameters and not any(takes_eta(scheduler) for scheduler in schedulers):
        raise ModelUnavailable(
            f"Model {model.id}: none of its schedulers takes eta; add `ddim` to its choices of `scheduler`, or remove "
            "eta from `parameters`."
        )
    if "clip_skip" in model.parameters:
        _check_clip_skip(model, pipes[0])


def takes_eta(scheduler: Any) -> bool:
    """Whether the steps of a scheduler depend on eta. Pipelines leave it out otherwise, without an error."""
    return "eta" in inspect.signature(scheduler.step).parameters


def _check_clip_skip(model: Model, pipe: Any) -> None:
    encoders = [
        item for item in pipe.components.values() if isinstance(item, CLIPTextModel | CLIPTextModelWithProjection)
    ]
    highest = min((encoder.config.num_hidden_layers for encoder in encoders), default=0) - 1
    limit = model.limit("clip_skip")
    if isinstance(limit, Range) and limit.max > highest:
        raise ModelUnavailable(
            f"Model {model.id}: `parameters` allows a clip_skip of {limit.max}; its text encoder allows at most "
            f"{highest}."
        )
    for encoder in encoders:
        # Stable Diffusion's pipeline takes the last layer normalisation from `text_model`. Since version 5 of
        # transformers, the encoder itself has it. In __dict__, it is no submodule of itself.
        if isinstance(encoder, CLIPTextModel) and not hasattr(encoder, "text_model"):
            encoder.__dict__["text_model"] = encoder
