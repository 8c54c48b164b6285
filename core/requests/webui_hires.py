"""The second pass of the webui's txt2img, `enable_hr`, within the bounds of the model."""

from typing import Any

from core.catalog import Model
from core.job_warnings import JobWarning
from core.parameters.hires import LANCZOS, HiresSpec, min_strength
from core.parameters.job import dimensions_of
from core.parameters.samplers import label_of_upscaler, upscaler_of
from core.requests.openai import warning
from core.requests.webui import MIN_SIDE, Txt2ImgRequest
from core.text import quote


def second_pass(
    request: Txt2ImgRequest, model: Model, generated: str, target: tuple[int, int]
) -> tuple[dict[str, Any] | None, list[JobWarning]]:
    """The second pass that comes nearest to a size, and the warnings about what is done instead of it.

    generated: size of the first pass.
    """
    size = f"{target[0]}x{target[1]}"
    if model.hires is None:
        message = f"enable_hr has no second pass: images of {generated} are enlarged to {size}."
        return None, [warning("enable_hr", message, "parameter_not_used")]
    first = dimensions_of(generated)
    width, height = model.hires.nearest(*first, target)
    warnings: list[JobWarning] = []
    if (width, height) != target:
        message = f"enable_hr: the second pass generates {width}x{height}, which is scaled to {size}."
        warnings.append(warning("enable_hr", message, "size_scaled"))
    if (width, height) == first:
        return None, warnings
    steps, strength = _steps_and_strength(request, model, model.hires.strength, warnings)
    upscaler = _upscaler(request, model.hires, warnings)
    return {"width": width, "height": height, "steps": steps, "strength": strength, "upscaler": upscaler}, warnings


def _upscaler(request: Txt2ImgRequest, spec: HiresSpec, warnings: list[JobWarning]) -> str:
    """The upscaler that a name of the webui stands for; Lanczos for one that the model does not have."""
    label = (request.hr_upscaler or "").strip()
    names = {name.lower(): name for name in spec.names}
    name = names.get(upscaler_of(label).lower())
    if name is None:
        available = ", ".join(label_of_upscaler(name) for name in spec.names)
        message = f"hr_upscaler {quote(label)} is not used: Lanczos is. This model has {available}."
        warnings.append(warning("hr_upscaler", message, "parameter_not_used"))
    return name or LANCZOS


def _steps_and_strength(
    request: Txt2ImgRequest, model: Model, default_strength: float, warnings: list[JobWarning]
) -> tuple[int, float]:
    """The steps of a second pass, within the model's bounds, and a strength that leaves at least one of them."""
    minimum, maximum = model.steps.min, model.steps.max
    requested_steps = request.hr_second_pass_steps or 0  # the webui's 0: those of the first pass
    steps = min(max(requested_steps or request.steps or model.steps.default, minimum), maximum)
    if requested_steps not in (0, steps):
        message = (
            f"hr_second_pass_steps is {requested_steps}; {model.id} allows {minimum} to {maximum}, so {steps} is used."
        )
        warnings.append(warning("hr_second_pass_steps", message, "parameter_not_used"))
    strength = default_strength if request.denoising_strength is None else request.denoising_strength
    if int(steps * strength) >= 1:
        return steps, strength
    used_strength = min_strength(steps)
    message = f"denoising_strength is {strength:g}, which leaves none of {steps} steps; {used_strength:g} is used."
    warnings.append(warning("denoising_strength", message, "parameter_not_used"))
    return steps, used_strength


def enlarged_size(request: Txt2ImgRequest, width: int, height: int) -> tuple[int, int]:
    """The size after `enable_hr`. One side alone sets the other by the aspect ratio."""
    scale = 2.0 if request.hr_scale is None else request.hr_scale
    scale = max(scale, 16 / min(width, height))
    new_width, new_height = request.hr_resize_x or 0, request.hr_resize_y or 0
    if not new_width and not new_height:
        return round(width * scale), round(height * scale)
    sides = new_width or round(width * new_height / height), new_height or round(height * new_width / width)
    return max(MIN_SIDE, sides[0]), max(MIN_SIDE, sides[1])
