"""Adapts OpenAI's calls to the model: what OpenAI documents gives an image, with a warning for what is not honoured.

OpenAI's clients send the words of DALL·E and gpt-image whatever model answers. `/v1/jobs` has no such step: it refuses
what the model does not support (`plan.py`), and so do OpenAI's calls with SAFELIGHT_STRICT_PARAMETERS. Decision 20 has
the reasons.
"""

import re
from collections.abc import Iterator
from math import log
from typing import Any

from core.catalog import Catalog, Model
from core.errors import InvalidParameter
from core.job_warnings import JobWarning
from core.parameters.job import dimensions_of
from core.parameters.reference_images import MAX_ADAPTER_IMAGES
from core.requests.job import JobRequest
from core.requests.openai import BASE64_NAMES, OPENAI_NAMES, warning
from core.requests.plan import conflicting_choice, find_model, is_unsupported
from core.settings import Settings

SIZES = ("256x256", "512x512", "1024x1024", "1536x1024", "1024x1536", "1792x1024", "1024x1792")
"""The sizes of OpenAI's models, beside `auto`."""

MAX_LONG_SIDE, MAX_SHORT_SIDE = 3840, 2160
"""The largest image of gpt-image-2 and later models, in pixels."""

QUALITIES = ("low", "medium", "high", "xhigh", "max")
"""In ascending order."""

_REASONS = {
    "quality": "it has no qualities; `steps` sets the number of denoising steps",
    "style": "it has no styles; describe the style in the prompt",
    "background": "its images are opaque",
    "moderation_level": "moderation is set by the operator",
    "input_fidelity": "`strength` says how much an edit changes the image",
}
"""OpenAI's parameters that a model may lack, and what holds instead."""

_SIZE = re.compile(r"[1-9][0-9]{1,3}x[1-9][0-9]{1,3}")

Changes = tuple[dict[str, Any], JobWarning | None]
"""New values of a request's fields, and the warning about them."""


def adapt(request: JobRequest, catalog: Catalog, settings: Settings) -> JobRequest:
    """A request that its model supports as far as OpenAI's parameters are concerned, with warnings.

    A request that is not a call of OpenAI's is returned as it is. Raises ModelNotFound, and InvalidParameter for a
    value that OpenAI does not have, or in strict mode for the first value that would need a warning.
    """
    if not request.is_openai:
        return request
    model = find_model(request, catalog)
    if settings.strict_parameters:
        unsupported = (notice for _, notice in _unsupported(request, model) if notice is not None)
        for first in (*request.warnings, *unsupported):
            raise InvalidParameter(first["message"], param=first["param"])
        return request
    for step in (_size, _quality, _unsupported, _choices, _compression, _previews, _input_images):
        for values, item in step(request, model):
            request = request.model_copy(update=values)
            if item is not None:
                request.add_warnings([item])
    return request


def _size(request: JobRequest, model: Model) -> Iterator[Changes]:
    """Generate at the model's nearest size, and scale the image to the size of the request."""
    size = request.size or "auto"
    if size in ("auto", *model.sizes):
        return
    if model.free_sizes is not None and _SIZE.fullmatch(size):
        if nearest_size_of(size, model) == size:
            return
    elif not _is_size_of_openai(size, request.model or ""):
        sizes = ", ".join(dict.fromkeys((*model.sizes, *SIZES, "auto")))
        raise InvalidParameter(f"size {size!r} is not available for {model.id}; choose from {sizes}.", param="size")
    nearest_size = nearest_size_of(size, model)
    message = f"{model.id} has no size {size}: the image is generated at {nearest_size}, scaled and cropped."
    if request.operation == "edit":
        message = f"{model.id} has no size {size}: the image is edited at {nearest_size} and scaled."
    output_size = request.output_size or size
    yield {"size": nearest_size, "output_size": output_size}, warning("size", message, "size_scaled")


def nearest_size_of(size: str, model: Model) -> str:
    """The size at which a model generates an image of another size: the same if it can, else the most similar."""
    if size not in model.sizes and model.free_sizes is not None:
        width, height = dimensions_of(size)
        if model.free_sizes.allow(width, height):
            return size
        if (near := model.free_sizes.nearest(width, height)) is not None:
            return f"{near[0]}x{near[1]}"
    return nearest(size, model.sizes)


def nearest(size: str, sizes: tuple[str, ...]) -> str:
    """The size with the most similar aspect ratio, and among those the one with the most similar number of pixels."""
    width, height = dimensions_of(size)

    def distance(candidate: str) -> tuple[float, float]:
        other_width, other_height = dimensions_of(candidate)
        aspect = log(width / height * other_height / other_width)
        return round(abs(aspect), 6), abs(log(width * height / (other_width * other_height)))

    return min(sizes, key=distance)


def _is_size_of_openai(size: str, model_name: str) -> bool:
    if size in SIZES:
        return True
    width_text, _, height_text = size.partition("x")
    if not model_name.startswith(BASE64_NAMES) or not all(
        side.isascii() and side.isdecimal() and len(side) <= 4 for side in (width_text, height_text)
    ):
        return False
    short, long = sorted((int(width_text), int(height_text)))
    fits = short <= MAX_SHORT_SIDE and long <= MAX_LONG_SIDE
    return short > 0 and fits and long <= 3 * short and short % 16 == long % 16 == 0


def _quality(request: JobRequest, model: Model) -> Iterator[Changes]:
    """Replace a quality that the model does not have by the next lower one, or by its lowest."""
    available = [quality for quality in QUALITIES if quality in (model.qualities or tuple(model.quality_steps))]
    quality = request.quality
    if quality == "auto" or quality in available or not available:
        return
    lower = [name for name in available if QUALITIES.index(name) < QUALITIES.index(quality)]
    replacement = lower[-1] if lower else available[0]
    message = f"{model.id} has no quality {quality}; {replacement} is used."
    yield {"quality": replacement}, warning("quality", message, "quality_replaced")


def _unsupported(request: JobRequest, model: Model) -> Iterator[Changes]:
    """Leave out the parameters that the model does not support."""
    if request.style is not None and model.styles and request.style not in model.styles:
        message = f"style {request.style!r} is not used: {model.id} has only {', '.join(model.styles)}."
        yield {"style": None}, warning("style", message)
    for name, reason in _REASONS.items():
        if is_unsupported(name, request, model):
            param = OPENAI_NAMES.get(name, name)
            message = f"{param} {getattr(request, name)!r} is not used by {model.id}: {reason}."
            yield {name: JobRequest.model_fields[name].default}, warning(param, message)
    if model.is_remote and request.operation == "edit" and request.moderation_level == "low":
        yield {"moderation_level": None}, warning("moderation", "moderation is not used: OpenAI has none for edits.")


def _choices(request: JobRequest, model: Model) -> Iterator[Changes]:
    """Leave out a quality or a style that stands for a parameter which the request sets itself."""
    while (conflict := conflicting_choice(request, model)) is not None:
        choice, name = conflict
        value = {choice: JobRequest.model_fields[choice].default}
        request = request.model_copy(update=value)
        yield value, warning(choice, f"{choice} is not used, because {name} is set.")


def _compression(request: JobRequest, _model: Model) -> Iterator[Changes]:
    """OpenAI accepts a compression for png, and 100 means none."""
    if request.output_compression is not None and request.output_format == "png":
        message = "output_compression is not used: png is lossless."
        is_neutral = request.output_compression == 100
        yield {"output_compression": None}, None if is_neutral else warning("output_compression", message)


def _previews(request: JobRequest, model: Model) -> Iterator[Changes]:
    if model.is_remote and request.partial_images and request.n > 1:
        yield {"partial_images": 0}, warning("partial_images", "partial_images is not used: n is more than 1.")


def _input_images(request: JobRequest, model: Model) -> Iterator[Changes]:
    """Use the first images if the model takes fewer than the request has."""
    maximum = model.input_image_count
    if model.ip_adapters:
        maximum += MAX_ADAPTER_IMAGES if maximum == 1 else 0
    if (count := len(request.input_images)) > maximum:
        message = f"{model.id} takes {maximum} input image{'s' if maximum > 1 else ''} of the {count} that were sent."
        images = (request.reference_images or [])[: maximum - 1]
        yield {"reference_images": images or None}, warning("image", message, "images_not_used")
