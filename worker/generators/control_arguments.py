"""The arguments of a pipeline's call for the control images of its requests."""

from collections.abc import Sequence
from typing import Any

from core.catalog import Model
from core.generation import ImageRequest
from core.generation_errors import GenerationError
from core.parameters.control import Control
from worker.generators.call import call_parameters

ARGUMENTS = frozenset(
    {
        "control_image", "control_mask", "control_mode", "controlnet_conditioning_scale", "control_guidance_start",
        "control_guidance_end", "adapter_conditioning_scale", "adapter_conditioning_factor",
    }
)  # fmt: skip


def control_arguments(model: Model, pipe: Any, requests: Sequence[ImageRequest]) -> dict[str, Any]:
    """The arguments for the controls of requests, which share them; empty without any.

    Raises GenerationError for a weight or a share of the steps that the pipeline cannot honour.
    """
    request = requests[0]
    controls, images = request.parameters.control or (), list(request.control_images)
    if not controls:
        return {}
    if len(images) != len(controls):
        raise GenerationError("A control came without its image.", param="control")
    parameters = call_parameters(pipe)
    if "adapter_conditioning_scale" in parameters:
        return _adapter_arguments(model, pipe, requests)
    # Beside an input image the control image has a name of its own; Stable Diffusion has no other for the first.
    name = "control_image" if "control_image" in parameters else "image"
    values: dict[str, list[Any]] = {name: images}
    if "controlnet_conditioning_scale" in parameters:
        values["controlnet_conditioning_scale"] = [_weight(control) for control in controls]
    elif any(_weight(control) != 1 for control in controls):
        index = next(index for index, control in enumerate(controls) if _weight(control) != 1)
        raise _refusal(model, pipe, "weight", index, "weight")
    if "control_guidance_start" in parameters:
        values["control_guidance_start"] = [control.start for control in controls]
        values["control_guidance_end"] = [control.end for control in controls]
    elif partial := [index for index, control in enumerate(controls) if (control.start, control.end) != (0, 1)]:
        field = "start" if controls[partial[0]].start else "end"
        raise _refusal(model, pipe, "start or end", partial[0], field)
    mode_of_type = {spec.type: spec.mode for spec in model.controls}
    modes = [mode_of_type.get(control.type) for control in controls]
    if "control_mode" in parameters and (len(controls) > 1 or modes != [None]):
        # Without it, FLUX's pipelines for edits use none of several networks.
        values["control_mode"] = modes
    arguments: dict[str, Any] = (
        dict(values) if len(controls) > 1 else {name: value[0] for name, value in values.items()}
    )
    if "control_mask" in parameters:
        arguments["control_mask"] = request.mask
    return arguments


def _adapter_arguments(model: Model, pipe: Any, requests: Sequence[ImageRequest]) -> dict[str, Any]:
    """Those of T2I-Adapters, which take an image for each prompt of a call."""
    request = requests[0]
    controls = request.parameters.control or ()
    adapters = list(getattr(pipe.adapter, "adapters", [pipe.adapter]))
    images = [  # adapters of edges and sketches read one channel
        [image.convert("L") if adapter.config.in_channels == 1 else image] * len(requests)
        for image, adapter in zip(request.control_images, adapters, strict=True)
    ]
    weights, ends = [_weight(control) for control in controls], {control.end for control in controls}
    late = next((index for index, control in enumerate(controls) if control.start), None)
    if late is not None:
        raise _refusal(model, pipe, "start", late, "start")
    arguments: dict[str, Any] = {
        "image": images if len(images) > 1 else images[0],
        "adapter_conditioning_scale": weights if len(weights) > 1 else weights[0],
    }
    if "adapter_conditioning_factor" in call_parameters(pipe):
        if len(ends) > 1:
            raise _refusal(model, pipe, "several values of end", 1, "end")
        arguments["adapter_conditioning_factor"] = ends.pop()
    elif ends != {1}:
        index = next(index for index, control in enumerate(controls) if control.end != 1)
        raise _refusal(model, pipe, "end", index, "end")
    return arguments


def _weight(control: Control) -> float:
    return 1.0 if control.weight is None else float(control.weight)


def _refusal(model: Model, pipe: Any, words: str, index: int, field: str) -> GenerationError:
    message = f"Model {model.id} takes no {words} of a control here ({type(pipe).__name__} has none)."
    return GenerationError(message, param=f"control.{index}.{field}")
