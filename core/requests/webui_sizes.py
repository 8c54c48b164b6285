"""The sizes of a request of AUTOMATIC1111's API: what the model generates, and what the client receives."""

from dataclasses import dataclass
from typing import Any

from core.catalog import Model
from core.images.postprocess import MAX_SIDE_PX
from core.images.resizing import Preparation, ResizeMode
from core.job_warnings import JobWarning
from core.parameters.job import dimensions_of
from core.requests.adaptation import nearest_size_of
from core.requests.openai import warning
from core.requests.webui import MIN_SIDE, WEBUI_SIZE, Img2ImgRequest, Txt2ImgRequest, WebuiRequest
from core.requests.webui_hires import enlarged_size, second_pass

_RESIZE_MODES: tuple[ResizeMode, ...] = ("stretch", "crop", "fill", "stretch")


@dataclass(frozen=True, slots=True)
class Sizes:
    """At which of the model's sizes images are generated, and the size of the result in pixels."""

    generated: str
    width: int
    height: int
    warnings: list[JobWarning]
    hires: dict[str, Any] | None = None
    """The second pass."""


def sizes_of(request: WebuiRequest, model: Model) -> Sizes:
    """The sizes of a request, and the warnings about them."""
    width, height = dimensions_of(model.size)
    if request.width is not None or request.height is not None:
        width, height = request.width or WEBUI_SIZE, request.height or WEBUI_SIZE
    generated = nearest_size_of(f"{width}x{height}", model)
    warnings: list[JobWarning] = []
    hires: dict[str, Any] | None = None
    if isinstance(request, Txt2ImgRequest) and request.enable_hr:
        first_size = f"{width}x{height}"
        width, height = enlarged_size(request, width, height)
        hires, notices = second_pass(request, model, generated, (width, height))
        warnings += notices
        if hires is not None and first_size != generated:
            message = f"{model.id} has no size {first_size}: the first pass generates {generated}."
            warnings.append(warning("width", message, "size_scaled"))
    if (longest := max(width, height)) > MAX_SIDE_PX:
        requested_size = f"{width}x{height}"
        width, height = (max(MIN_SIDE, round(side * MAX_SIDE_PX / longest)) for side in (width, height))
        message = f"No side may be longer than {MAX_SIDE_PX} px: {width}x{height} instead of {requested_size}."
        warnings.append(warning("width", message, "parameter_not_used"))
    if f"{width}x{height}" != generated and not warnings and hires is None:
        message = f"{model.id} has no size {width}x{height}: images are generated at {generated} and scaled."
        warnings.append(warning("width", message, "size_scaled"))
    return Sizes(generated, width, height, warnings, hires)


def preparation(request: Img2ImgRequest, sizes: Sizes) -> Preparation:
    """How the images of an edit are brought to the size of the result."""
    return Preparation(
        width=sizes.width,
        height=sizes.height,
        mode=_RESIZE_MODES[request.resize_mode or 0],
        is_inverted=request.inpainting_mask_invert == 1,
    )
