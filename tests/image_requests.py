"""Requests for a generator, as a worker makes them of a job."""

from dataclasses import fields, replace
from typing import Any

from core.generation import ImageRequest
from core.parameters.job import ResolvedParameters

_FIELDS = {field.name for field in fields(ImageRequest)}


def image_request(prompt: str = "a cat", *, side: int = 64, seed: int = 0, **changes: Any) -> ImageRequest:
    """A square image; `changes` are fields of the request or of its parameters."""
    size = f"{side}x{side}"
    request = ImageRequest(prompt, ResolvedParameters(size=size, steps=4, guidance_scale=5.0, seed=seed))
    return with_changes(request, **changes)


def with_changes(request: ImageRequest, **changes: Any) -> ImageRequest:
    """The same request with other fields or parameters."""
    parameters = {name: value for name, value in changes.items() if name not in _FIELDS}
    own = {name: value for name, value in changes.items() if name in _FIELDS}
    if parameters:
        own["parameters"] = request.parameters.model_copy(update=parameters)
    return replace(request, **own)
