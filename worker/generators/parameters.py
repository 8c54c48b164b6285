"""Translates requests and a model's options into the arguments of a diffusers pipeline's call.

A value that the pipeline has no parameter for is an error. What its guidance does not use is not passed on, and
`guidance.py` has a notice of it. `operations.py` chooses the pipeline.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_inpaint import calculate_dimensions

from core.catalog import Model
from core.generation import ImageRequest
from core.generation_errors import GenerationError, ModelUnavailable
from core.parameters.job import rules
from worker.generators.call import call_parameters
from worker.generators.control_arguments import ARGUMENTS, control_arguments
from worker.generators.guidance import Guidance, guidance_of
from worker.generators.ip_adapters import read_by_the_pipeline
from worker.generators.optional import takes_eta
from worker.generators.sharing import ONE_PROMPT

_REQUEST_ARGUMENTS: Final = {
    "prompt", "negative_prompt", "image", "mask_image", "strength", "width", "height",
    "num_inference_steps", "decoder_num_inference_steps", "guidance_scale", "decoder_guidance_scale",
    "generator", "output_type", "callback_on_step_end", "callback_on_step_end_tensor_inputs",
    "max_area", "_auto_resize", *ARGUMENTS,
}  # fmt: skip
_MILLION_PIXELS: Final = frozenset({"QwenImageEditInpaintPipeline"})
"""Classes that draw an area of 1024x1024 in the shape of their image, whatever size they are called with."""
_UP_TO_A_MILLION_PIXELS: Final = frozenset({"Flux2KleinInpaintPipeline"})
"""Classes that scale a larger image down to an area of 1024x1024, and draw that."""
_LISTS: Final = ("prompt", "negative_prompt", "image", "generator")
_LOADING_OPTIONS: Final = {"dtype", "variant"}


def call_options(model: Model, pipe: Any) -> dict[str, Any]:
    """The model's options that are arguments of each call. Raises ModelUnavailable if the pipeline lacks them."""
    options = {name: value for name, value in model.options.items() if name not in _LOADING_OPTIONS}
    parameters, name = call_parameters(pipe), type(pipe).__name__
    if missing := {"generator", "output_type"} - parameters.keys():
        raise ModelUnavailable(
            f"Model {model.id}: {name} takes no {', '.join(sorted(missing))}; it cannot be used here."
        )
    required_names = {key for key, parameter in parameters.items() if parameter.default is parameter.empty}
    if missing := required_names - options.keys() - _REQUEST_ARGUMENTS:
        raise ModelUnavailable(
            f"Model {model.id}: {name} needs {', '.join(sorted(missing))}, which no request carries."
        )
    if unknown := options.keys() - (parameters.keys() - _REQUEST_ARGUMENTS):
        raise ModelUnavailable(f"Model {model.id}: {name} takes no option {', '.join(sorted(unknown))}.")
    return options


def call_arguments(
    model: Model, pipe: Any, options: Mapping[str, Any], requests: Sequence[ImageRequest]
) -> dict[str, Any]:
    """The arguments of one call. Raises GenerationError for a value that the pipeline has no parameter for."""
    guidance = guidance_of(model, pipe, requests[0])
    arguments = {
        **options,
        **_own_arguments(model, pipe, requests[0]),
        **guidance.arguments,
        # On the CPU, where a seed gives the same noise for every device. Each image has its own generator, so that it
        # does not depend on the other images of the call.
        "generator": [torch.Generator("cpu").manual_seed(request.seed) for request in requests],
        "output_type": "np",  # floats, in which NaN is still different from black
        **_prompts(model, pipe, guidance, requests),
        **_images(pipe, requests),
        **control_arguments(model, pipe, requests),
        **_numbers(model, pipe, requests[0]),
    }
    # Ideogram 4 has a scale for each step by default, and takes only one of the two.
    if "guidance_schedule" in call_parameters(pipe) and "guidance_schedule" not in options:
        arguments["guidance_schedule"] = None
    if type(pipe).__name__ in ONE_PROMPT:
        arguments |= {name: arguments[name][0] for name in _LISTS if name in arguments}
    # Sana Sprint draws in two steps, with a timestep between them that other numbers of steps do not have.
    if "intermediate_timesteps" in call_parameters(pipe) and requests[0].steps != 2:
        arguments["intermediate_timesteps"] = None
    # A pipeline with a fixed size has no such parameters; the size of its images is checked afterwards.
    if {"width", "height"} <= call_parameters(pipe).keys():
        arguments |= _size(model, pipe, requests[0].width, requests[0].height)
    return arguments


def _size(model: Model, pipe: Any, width: int, height: int) -> dict[str, Any]:
    """Width and height. Raises GenerationError for a size that the pipeline would round, after all its steps."""
    parameters = call_parameters(pipe)
    config = getattr(getattr(pipe, "image_processor", None), "config", {})
    multiple = int(config.get("vae_scale_factor", 1))
    name = type(pipe).__name__
    if name in _MILLION_PIXELS and (own := calculate_dimensions(1024 * 1024, width / height)[:2]) != (width, height):
        raise GenerationError(
            f"Model {model.id} draws images of this shape in {own[0]}x{own[1]} only, if there is a mask.", param="size"
        )
    if name in _UP_TO_A_MILLION_PIXELS and width * height > 1024 * 1024:
        raise GenerationError(
            f"Model {model.id} draws up to 1024x1024 pixels if there is a mask, not {width}x{height}.", param="size"
        )
    # With `use_resolution_binning`, a pipeline draws the nearest size that it was trained for, and scales the image.
    if "use_resolution_binning" not in parameters and (width % multiple or height % multiple):
        raise GenerationError(
            f"Model {model.id} generates no {width}x{height}: both sides must be multiples of {multiple}.", param="size"
        )
    size: dict[str, Any] = {"width": width, "height": height}
    # FLUX Kontext scales every size to an area of its own, and every input image to the sizes of its training.
    if "max_area" in parameters:
        size["max_area"] = width * height
    if "_auto_resize" in parameters:
        size["_auto_resize"] = False
    return size


def requested_steps(pipe: Any, arguments: Mapping[str, Any]) -> int:
    """The steps of a call, summed over all stages: a cascade also has prior_num_inference_steps and the like."""
    values = {name: parameter.default for name, parameter in call_parameters(pipe).items()} | dict(arguments)
    steps = [value for name, value in values.items() if name.endswith("num_inference_steps")]
    return sum(value for value in steps if isinstance(value, int))


def _own_arguments(model: Model, pipe: Any, request: ImageRequest) -> dict[str, Any]:
    """The parameters that are arguments of the call under the same name. Raises GenerationError for one that is not."""
    values = {
        name: value
        for name, rule in rules().items()
        if rule.is_argument and rule.text is None and (value := getattr(request.parameters, name)) is not None
    }
    for name in values:
        if name not in call_parameters(pipe):
            raise GenerationError(
                f"Model {model.id} takes no {name} here ({type(pipe).__name__} has none).", param=name
            )
    if "eta" in values and not takes_eta(pipe.scheduler):
        raise GenerationError(
            f"Model {model.id} takes no eta with this scheduler ({type(pipe.scheduler).__name__} would ignore it).",
            param="eta",
        )
    return values


def _prompts(model: Model, pipe: Any, guidance: Guidance, requests: Sequence[ImageRequest]) -> dict[str, list[str]]:
    """The prompts, and the negative prompts if there are any."""
    parameters, name = call_parameters(pipe), type(pipe).__name__
    prompts: dict[str, list[str]] = {}
    if "prompt" in parameters:
        prompts["prompt"] = [request.prompt for request in requests]
    elif any(request.prompt for request in requests):
        raise GenerationError(f"Model {model.id} takes no prompt here ({name} looks at the image only).")
    if any(request.parameters.prompt_2 is not None for request in requests):
        prompts["prompt_2"] = [
            request.prompt if request.parameters.prompt_2 is None else request.parameters.prompt_2
            for request in requests
        ]
    if any(request.has_negative_prompt for request in requests):
        if "negative_prompt" not in parameters:
            raise GenerationError(
                f"Model {model.id} takes no negative_prompt ({name} would ignore it).", param="negative_prompt"
            )
        if not guidance.drops_negative_prompt:
            prompts |= _negative_prompts(guidance, requests)
    elif guidance.needs_negative_prompt:
        prompts["negative_prompt"] = [guidance.default_negative_prompt] * len(requests)
    for text in ("prompt_2", "negative_prompt_2"):
        if text in prompts and text not in parameters:
            raise GenerationError(f"Model {model.id} takes no {text} here ({name} has none).", param=text)
    return prompts


def _negative_prompts(guidance: Guidance, requests: Sequence[ImageRequest]) -> dict[str, list[str]]:
    """Both negative prompts. The pipelines ignore the second without the first."""
    first = [request.negative_prompt or guidance.default_negative_prompt for request in requests]
    second = [request.parameters.negative_prompt_2 for request in requests]
    prompts = {"negative_prompt": first}
    if any(text is not None for text in second):
        pairs = zip(second, first, strict=True)
        prompts["negative_prompt_2"] = [other if text is None else text for text, other in pairs]
    return prompts


def _images(pipe: Any, requests: Sequence[ImageRequest]) -> dict[str, list[Any]]:
    """The input images, under the names that all pipelines of diffusers use."""
    images: dict[str, list[Any]] = {}
    if "control_mask" in call_parameters(pipe):  # its control network reads the image that is to be filled
        return images
    if requests[0].operation != "generation":
        # A request with reference images is alone in its call; see `sharing.py`.
        images["image"] = [image for request in requests for image in (request.image, *read_by_the_pipeline(request))]
    if requests[0].mask is not None:
        images["mask_image"] = [request.mask for request in requests]
    if missing := [name for name, values in images.items() if None in values]:
        raise GenerationError(f"A request for an {requests[0].operation} came without its {missing[0]}.")
    return images


def _numbers(model: Model, pipe: Any, request: ImageRequest) -> dict[str, int | float]:
    """Steps and strength. In a cascade, the names for its longest stage begin with `decoder_`."""
    parameters, numbers = call_parameters(pipe), dict[str, int | float]()
    candidates: list[tuple[str, int | float, int | float]] = [
        ("num_inference_steps", request.steps, model.steps.default),
    ]
    if request.strength is not None:
        candidates.append(("strength", request.strength, model.strength))
    for parameter, value, default in candidates:
        name = next((name for name in (parameter, f"decoder_{parameter}") if name in parameters), None)
        if name is not None:
            numbers[name] = value
        elif value != default:
            word = parameter.removeprefix("num_inference_")
            raise GenerationError(
                f"Model {model.id} takes no {word} other than {default} ({type(pipe).__name__} has a fixed one)."
            )
    # diffusers' pipelines round down, and raise an error that a client cannot understand when no step is left.
    if "strength" in numbers and hasattr(pipe, "get_timesteps") and int(request.steps * numbers["strength"]) < 1:
        raise GenerationError(
            f"A strength of {request.strength} leaves none of {request.steps} steps; ask for more steps or strength."
        )
    return numbers
