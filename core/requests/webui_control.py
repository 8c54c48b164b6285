"""The units of the webui's ControlNet extension, as `alwayson_scripts.controlnet.args` has them.

Its clients name a network by the name of its file, such as `control_v11p_sd15_canny [d14c016b]`. Here it is the type of
the model's catalogue entry that occurs in this name. A unit of an IP-Adapter becomes a reference image.
"""

import base64
import binascii
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

from core.catalog import Model
from core.job_warnings import JobWarning
from core.parameters.control import MAX_CONTROLS, MAX_WEIGHT, PREPROCESSES, Preprocess
from core.parameters.image_source import ImageSource
from core.parameters.reference_images import MAX_ADAPTER_IMAGES, ReferenceImage, reference_of
from core.requests.openai import warning
from core.text import quote, shorten

SCRIPT = "controlnet"
_PARAM = "alwayson_scripts.controlnet"
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "control_mode": (0, "0", "Balanced"),
    "resize_mode": (1, "1", "Crop and Resize"),
}
"""Values that ask for what happens anyway."""
_READ = frozenset({"enabled", "image", "input_image", "module", "model", "weight", "guidance_start", "guidance_end"})
_FIELDS_OF_THE_PAGE = frozenset(
    {
        "pixel_perfect", "low_vram", "lowvram", "processor_res", "threshold_a", "threshold_b", "save_detected_map",
        "hr_option", "input_mode", "is_ui", "loopback", "use_preview_as_input", "batch_images", "batch_image_dir",
        "batch_mask_dir", "batch_modifiers", "output_dir", "animatediff_batch", "batch_keyframe_idx", "generated_image",
    }
)  # fmt: skip
"""Fields that clients send in any case: of the preprocessor, the extension's own page, or folders on its server."""
_IGNORED_VALUES: tuple[Any, ...] = (None, "", "None", "none", "All", "Unknown", False, 0, 0.5, [], {})


def webui_controls(
    scripts: Mapping[str, Any], model: Model, init_image: ImageSource | None
) -> Iterator[tuple[dict[str, Any], JobWarning | None]]:
    """The fields `control` and `reference_images` from the units, and a warning for each thing that is not used.

    init_image: of img2img; it is the control image of units without one.
    """
    script = next((value for name, value in scripts.items() if name.lower() == SCRIPT), None)
    units = script.get("args") if isinstance(script, Mapping) else script
    controls: list[dict[str, Any]] = []
    references: list[ReferenceImage] = []
    for number, unit in enumerate(units if isinstance(units, list) else ()):
        param = f"{_PARAM}.args.{number}"
        if not isinstance(unit, Mapping):
            if unit not in (None, False, True):
                yield {}, warning(param, f"{param} is not used: it must be an object.")
            continue
        if unit.get("enabled", True) in (False, 0):
            continue
        if (adapter := _adapter_of(str(unit.get("model") or ""), model)) is not None:
            image = _image(unit)
            if image is None or len(references) == MAX_ADAPTER_IMAGES:
                reason = "it has no image in base64" if image is None else f"there are {MAX_ADAPTER_IMAGES} already"
                yield {}, warning(param, f"{param} is not used: {reason}.")
                continue
            values = {"adapter": adapter, "weight": _number(unit.get("weight"), 1.0, MAX_WEIGHT)}
            references.append(reference_of(image).model_copy(update=values))
            for name in _shares_of_steps(unit):
                yield {}, warning(f"{param}.{name}", f"{param}.{name} is not used: an IP-Adapter acts in all steps.")
            continue
        control, reason = _control(unit, model, init_image)
        if control is None or len(controls) == MAX_CONTROLS:
            reason = reason or f"a request has at most {MAX_CONTROLS} controls"
            yield {}, warning(param, f"{param} is not used: {reason}.")
            continue
        controls.append(control)
        for notice in _notices(param, unit, model):
            yield {}, notice
    if controls:
        yield {"control": controls}, None
    if references:
        yield {"reference_images": references}, None


def _control(
    unit: Mapping[str, Any], model: Model, init_image: ImageSource | None
) -> tuple[dict[str, Any] | None, str]:
    """A unit as a control; None with the reason why it is not used."""
    name = str(unit.get("model") or "")
    kind = _type_of(name, model)
    if kind is None:
        available = ", ".join(control.type for control in model.controls)
        return None, f"{model.id} has {available or 'no controls'}, not {quote(name)}"
    image = _image(unit) or init_image
    if image is None:
        return None, "it has no image in base64"
    start, end = _number(unit.get("guidance_start"), 0.0, 1.0), _number(unit.get("guidance_end"), 1.0, 1.0)
    if start >= end:
        return None, f"guidance_start {start:g} is not less than guidance_end {end:g}"
    weight = _number(unit.get("weight"), 1.0, MAX_WEIGHT)
    if model.required_controls:
        start, end, weight = 0.0, 1.0, 1.0
    control = {"type": kind, "image": image, "weight": weight, "start": start, "end": end}
    return {**control, "preprocess": preprocess_of(unit.get("module"), model.preprocessors) or "none"}, ""


def preprocess_of(module: Any, preprocessors: Collection[str]) -> Preprocess | None:
    """What a module of the extension is here, such as `canny` or `depth_midas`; None for one that there is not."""
    name = str(module or "none").lower()
    available: tuple[Any, ...] = (*PREPROCESSES, *preprocessors)
    return next((kind for kind in available if name.startswith(kind)), None)


def _adapter_of(name: str, model: Model) -> str | None:
    """The IP-Adapter that a name of the webui stands for: its name in the catalogue, or that of its file."""
    plain = re.sub(r"\s*\[[^\]]*\]$", "", name).strip().lower()
    names = {PurePosixPath(spec.file).stem.lower(): spec.name for spec in model.ip_adapters}
    return (names | {spec.name.lower(): spec.name for spec in model.ip_adapters}).get(plain)


def _type_of(name: str, model: Model) -> str | None:
    """The type of the model's controls that a name of the webui stands for: equal, or the longest that occurs in it."""
    plain = re.sub(r"\s*\[[^\]]*\]$", "", name).strip().lower()
    types = sorted((control.type for control in model.controls), key=len, reverse=True)
    words = re.split(r"[^a-z0-9]+", plain)
    return next((kind for kind in types if kind == plain), None) or next(
        (kind for kind in types if set(re.split(r"[^a-z0-9]+", kind)) <= set(words)), None
    )


def _image(unit: Mapping[str, Any]) -> ImageSource | None:
    value = unit.get("image") or unit.get("input_image")
    if isinstance(value, Mapping):
        value = value.get("image")
    if not isinstance(value, str) or not value or value.startswith(("http:", "https:")):
        return None
    try:
        content = base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value)
    except (binascii.Error, ValueError):
        return None
    return ImageSource.from_form(content)


def _shares_of_steps(unit: Mapping[str, Any]) -> list[str]:
    """The fields of a unit by which it would act in some of the steps only."""
    shares = {"guidance_start": 0.0, "guidance_end": 1.0}
    return [name for name, neutral in shares.items() if _number(unit.get(name), neutral, 1.0) != neutral]


def _number(value: Any, default: float, maximum: float) -> float:
    """A number from 0 to the maximum; the default for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return min(max(float(value), 0.0), maximum) if is_number else default


def _notices(param: str, unit: Mapping[str, Any], model: Model) -> Iterator[JobWarning]:
    """A warning for each field of a unit that would change the image at the webui and does not here."""
    module = unit.get("module")
    if preprocess_of(module, model.preprocessors) is None:
        available = ", ".join((*PREPROCESSES, *model.preprocessors))
        message = f"{param}.module {quote(str(module))} is not used: {model.id} has {available}."
        yield warning(f"{param}.module", message)
    weight = unit.get("weight")
    if model.required_controls:
        weight_fields = ["weight"] if _number(weight, 1.0, MAX_WEIGHT) != 1 else []
        for name in (*weight_fields, *_shares_of_steps(unit)):
            message = f"{param}.{name} is not used: {model.id} reads the image itself, in all steps."
            yield warning(f"{param}.{name}", message)
    elif isinstance(weight, int | float) and weight > MAX_WEIGHT:
        yield warning(f"{param}.weight", f"{param}.weight is {weight:g}; the largest, {MAX_WEIGHT:g}, is used.")
    for name, value in unit.items():
        if name in _READ or name in _FIELDS_OF_THE_PAGE or value in (*_IGNORED_VALUES, *_NEUTRAL.get(name, ())):
            continue
        yield warning(f"{param}.{shorten(name)}", f"{param}.{shorten(name)} is not used.")
