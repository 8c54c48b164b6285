"""What a pipeline's call takes, and what one call of it is given: requests and options, in the pipeline's own words.

A value that a pipeline has no parameter for is an error, never dropped. Which pipeline it is, is decided elsewhere.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch

from core.catalog import Model
from core.errors import GenerationError, ModelUnavailable
from core.generation import ImageRequest

_CARRIED_BY_REQUESTS: Final = {
    "prompt", "negative_prompt", "image", "mask_image", "strength", "width", "height",
    "num_inference_steps", "decoder_num_inference_steps", "guidance_scale", "decoder_guidance_scale",
    "generator", "output_type", "callback_on_step_end", "callback_on_step_end_tensor_inputs",
}  # fmt: skip
_OF_THE_LOADING: Final = {"dtype", "variant"}


def parameters(pipe: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a pipeline's call."""
    signature = inspect.signature(pipe.__call__)
    return {
        name: parameter for name, parameter in signature.parameters.items() if parameter.kind != parameter.VAR_KEYWORD
    }


def call_options(model: Model, pipe: Any) -> dict[str, Any]:
    """The options of a model that each call gets. Raises ModelUnavailable if the pipeline does not take them."""
    options = {name: value for name, value in model.options.items() if name not in _OF_THE_LOADING}
    taken, name = parameters(pipe), type(pipe).__name__
    if missing := {"generator", "output_type"} - taken.keys():
        raise ModelUnavailable(
            f"Model {model.id}: {name} takes no {', '.join(sorted(missing))}; it cannot be used here."
        )
    needed = {key for key, parameter in taken.items() if parameter.default is parameter.empty}
    if missing := needed - options.keys() - _CARRIED_BY_REQUESTS:
        raise ModelUnavailable(
            f"Model {model.id}: {name} needs {', '.join(sorted(missing))}, which no request carries."
        )
    if unknown := options.keys() - (taken.keys() - _CARRIED_BY_REQUESTS):
        raise ModelUnavailable(f"Model {model.id}: {name} takes no option {', '.join(sorted(unknown))}.")
    if "true_cfg_scale" in taken:
        options.setdefault("true_cfg_scale", taken["true_cfg_scale"].default)
    return options


def call_arguments(
    model: Model, pipe: Any, options: Mapping[str, Any], requests: Sequence[ImageRequest]
) -> dict[str, Any]:
    """The arguments of one call. Raises GenerationError for a value that the pipeline has no parameter for."""
    taken = parameters(pipe)
    arguments = {
        **options,
        # On the CPU, where a seed means the same for every device; one each, so neighbours change nothing.
        "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
        "output_type": "np",  # floats, in which NaN can still be told from black
        **_words(model, pipe, options, requests),
        **_images(requests),
        **_numbers(model, pipe, requests[0]),
    }
    # A pipeline that has one size only takes none; whether it is the one asked for is seen by the image.
    if {"width", "height"} <= taken.keys():
        arguments |= {"width": requests[0].width, "height": requests[0].height}
    return arguments


def steps_asked(pipe: Any, arguments: Mapping[str, Any]) -> int:
    """The steps asked for, over all stages: a cascade has a prior_num_inference_steps, with a default, and so on."""
    given = {name: parameter.default for name, parameter in parameters(pipe).items()} | dict(arguments)
    steps = [value for name, value in given.items() if name.endswith("num_inference_steps")]
    return sum(value for value in steps if isinstance(value, int))


def _words(
    model: Model, pipe: Any, options: Mapping[str, Any], requests: Sequence[ImageRequest]
) -> dict[str, list[str]]:
    """The prompts, and the negative ones if there are any."""
    taken, name = parameters(pipe), type(pipe).__name__
    words: dict[str, list[str]] = {}
    if "prompt" in taken:
        words["prompt"] = [request.prompt for request in requests]
    elif any(request.prompt for request in requests):
        raise GenerationError(f"Model {model.id} takes no prompt here ({name} looks at the image only).")
    if any(request.negative_prompt for request in requests):
        # These pipelines read the negative prompt only when true_cfg_scale switches guidance on.
        if "negative_prompt" not in taken or options.get("true_cfg_scale", 2) <= 1:
            raise GenerationError(f"Model {model.id} takes no negative_prompt ({name} would ignore it).")
        words["negative_prompt"] = [request.negative_prompt or "" for request in requests]
    return words


def _images(requests: Sequence[ImageRequest]) -> dict[str, list[Any]]:
    """The images that come in, under the names that all of diffusers gives them."""
    images: dict[str, list[Any]] = {}
    if requests[0].operation != "generation":
        images["image"] = [request.image for request in requests]
    if requests[0].mask is not None:
        images["mask_image"] = [request.mask for request in requests]
    if missing := [name for name, values in images.items() if None in values]:
        raise GenerationError(f"A request for an {requests[0].operation} came without its {missing[0]}.")
    return images


def _numbers(model: Model, pipe: Any, request: ImageRequest) -> dict[str, int | float]:
    """Steps, guidance and strength; a cascade calls those of its longest stage decoder_…"""
    taken, numbers = parameters(pipe), {}
    wanted: list[tuple[str, int | float, int | float]] = [
        ("num_inference_steps", request.steps, model.steps.default),
        ("guidance_scale", request.guidance_scale, model.guidance_scale.default),
    ]
    if request.strength is not None:
        wanted.append(("strength", request.strength, model.strength))
    for parameter, value, default in wanted:
        named = next((name for name in (parameter, f"decoder_{parameter}") if name in taken), None)
        if named is not None:
            numbers[named] = value
        elif value != default:
            word = parameter.removeprefix("num_inference_")
            raise GenerationError(
                f"Model {model.id} takes no {word} other than {default} ({type(pipe).__name__} has a fixed one)."
            )
    # diffusers' own pipelines round down, and fail in words of their own when nothing is left.
    if "strength" in numbers and hasattr(pipe, "get_timesteps") and int(request.steps * numbers["strength"]) < 1:
        raise GenerationError(
            f"A strength of {request.strength} leaves none of {request.steps} steps; ask for more steps or strength."
        )
    return numbers
