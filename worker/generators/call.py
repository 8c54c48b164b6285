"""What the call of a diffusers pipeline takes."""

import inspect
from typing import Any


def call_parameters(pipe: Any) -> dict[str, inspect.Parameter]:
    """The named parameters of a pipeline's call that have a meaning."""
    signature = inspect.signature(pipe.__call__)
    parameters = {
        name: parameter for name, parameter in signature.parameters.items() if parameter.kind != parameter.VAR_KEYWORD
    }
    # Chroma's inpainting has the name from FLUX, and never reads it: its `guidance_scale` is the true one.
    if hasattr(type(pipe), "do_classifier_free_guidance"):
        parameters.pop("true_cfg_scale", None)
    return parameters
