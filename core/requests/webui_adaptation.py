"""Converts the requests of AUTOMATIC1111's API to jobs: what the model does not have becomes a warning, not an error.

The webui's clients send all its settings whatever model answers. A size is delivered exactly as requested.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from core.catalog import Catalog, Model, Range
from core.errors import InvalidParameter, ModelNotFound
from core.job_warnings import JobWarning
from core.parameters.image_source import ImageSource
from core.parameters.job import SEEDS
from core.parameters.loras import MAX_LORAS, MAX_WEIGHT
from core.parameters.samplers import DEFAULT_SAMPLER, NEUTRAL_SCHEDULES, scheduler_of
from core.requests.job import JobRequest, validate
from core.requests.openai import warning
from core.requests.plan import conflicting_choice
from core.requests.webui import Img2ImgRequest, Txt2ImgRequest, WebuiRequest
from core.requests.webui_control import SCRIPT, webui_controls
from core.requests.webui_fields import unused_fields, unused_options
from core.requests.webui_sizes import Sizes
from core.text import quote, shorten

PREVIEWS = 3
"""Previews of a job, for clients that poll `/sdapi/v1/progress`."""

MIN_STRENGTH = 0.01
"""Stands for a `denoising_strength` of 0, which leaves the image as it is."""

MAX_WARNINGS = 20
"""Warnings about fields that are not used. Clients may send hundreds of fields."""

FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
"""By the webui's `samples_format`."""

_NETWORK = re.compile(r"<(?:lora|lyco|hypernet):[^<>]{1,200}>", re.IGNORECASE)
_LORA = re.compile(r"<lora:([^<>:]{1,64})(?::(-?[0-9.]{1,10}))?[^<>]{0,100}>", re.IGNORECASE)
_WEIGHT = re.compile(r"\(([^()]+):[0-9.]{1,10}\)")
_USED_SETTINGS = frozenset({"sd_model_checkpoint", "samples_format", "jpeg_quality", "live_previews_enable"})

Values = dict[str, Any]
Change = tuple[Values, JobWarning | None]
"""Values of a job's request, and the warning about them."""


def find_webui_model(request: WebuiRequest, catalog: Catalog, default: str | None) -> tuple[Model, JobWarning | None]:
    """The model of a request: that of its settings, else the caller's choice, else the catalogue's default.

    Raises InvalidParameter if the name in the settings is no text.
    """
    name = request.settings.get("sd_model_checkpoint")
    if name is not None and not isinstance(name, str):
        param = "override_settings.sd_model_checkpoint"
        raise InvalidParameter(f"{param} should be a valid string.", param=param)
    for model_name in (name, default):
        if model_name:
            try:
                return catalog.model(model_name), None
            except ModelNotFound as error:
                model = catalog.model(None)
                return model, _warning("sd_model_checkpoint", f"{error.message} {model.id} is used.")
    return catalog.model(None), None


def webui_job_request(
    request: WebuiRequest, model: Model, images: Mapping[str, bytes], sizes: Sizes, call: str
) -> JobRequest:
    """The job of a request. images: `image` and `mask` of img2img, in the size of the result. call: its name.

    Raises InvalidParameter if the prompt is empty.
    """
    output_size = f"{sizes.width}x{sizes.height}"
    final_size = sizes.generated if sizes.hires is None else f"{sizes.hires['width']}x{sizes.hires['height']}"
    values: Values = {
        "model": model.fine_tuned_name or model.id,
        "operation": "edit" if images else "generation",
        "size": sizes.generated,
        "output_size": None if output_size == final_size else output_size,
        "hires": sizes.hires,
        "metadata": {"sdapi": call},
    }
    values |= {name: ImageSource.from_form(content) for name, content in images.items()}
    warnings = list(sizes.warnings)
    for step in _STEPS:
        for changes, item in step(request, model):
            values |= changes
            if item is not None:
                warnings.append(item)
    for changes, item in webui_controls(request.alwayson_scripts or {}, model, values.get("image")):
        values |= changes
        warnings += [] if item is None else [item]
    job_request = validate(JobRequest, values, strict=True)
    if (conflict := conflicting_choice(job_request, model)) is not None:
        job_request.style = None
        warnings.append(_warning("styles", f"styles are not used, because {conflict[1]} is set."))
    job_request.add_warnings(warnings)
    return job_request


def _prompts(request: WebuiRequest, model: Model) -> Iterator[Change]:
    """Remove the webui's syntax from the prompts: the model would take it for a part of the content."""
    for name in ("prompt", "negative_prompt"):
        text = getattr(request, name)
        if (not text and name == "negative_prompt") or text is None:
            continue
        if name == "prompt" and (loras := _loras(text, model)):
            yield {"loras": loras}, None
            text = _LORA.sub(lambda match: "" if match[1] in {lora["name"] for lora in loras} else match[0], text)
        plain = _NETWORK.sub("", text)
        if plain != text:
            available = f"{model.id} has {', '.join(lora.name for lora in model.loras)}" if model.loras else ""
            reason = available or "there are no extra networks"
            yield {}, _warning(name, f"{name}: <lora:…> and the like are removed: {reason}.")
        before, plain = plain, _WEIGHT.sub(r"\1", plain)
        if plain != before:
            yield {}, _warning(name, f"{name}: the weights of (…:1.2) are removed: the model has none.")
        if name in model.lacks:
            yield {}, _warning(name, f"{name} is not used: {model.id} does not support it.")
        else:
            yield {name: plain}, None


def _count(request: WebuiRequest, model: Model) -> Iterator[Change]:
    count = (request.batch_size or 1) * (request.n_iter or 1)
    if count > model.max_images:
        message = f"batch_size x n_iter is {count}; {model.id} generates at most {model.max_images} images a call."
        yield {}, _warning("batch_size", message)
    yield {"n": min(count, model.max_images)}, None


def _loras(text: str, model: Model) -> list[Values]:
    """The LoRAs of `<lora:name:weight>` that the model has, each once, with weights within the bounds."""
    weights: dict[str, float] = {}
    names = {lora.name for lora in model.loras}
    for name, number in _LORA.findall(text):
        with suppress(ValueError):  # such as 1.2.3
            if name in names and name not in weights:
                weights[name] = min(max(float(number or 1), -MAX_WEIGHT), MAX_WEIGHT)
    return [{"name": name, "weight": weight} for name, weight in list(weights.items())[:MAX_LORAS]]


def _seed(request: WebuiRequest, model: Model) -> Iterator[Change]:
    seed = request.seed
    if seed is None or seed == -1:
        return
    if "seed" in model.lacks:
        yield {}, _warning("seed", f"seed is not used: {model.id} has none.")
        return
    if not 0 <= seed < SEEDS:
        yield {}, _warning("seed", f"seed {seed} is outside 0 to {SEEDS - 1}; {seed % SEEDS} is used.")
    yield {"seed": seed % SEEDS}, None


def _numbers(request: WebuiRequest, model: Model) -> Iterator[Change]:
    """Steps and guidance scale, within the limits of the model."""
    for field, name, limit in (
        ("steps", "steps", model.steps),
        ("cfg_scale", "guidance_scale", model.guidance_scale),
    ):
        value = getattr(request, field)
        if value is None:
            continue
        if name in model.lacks:
            yield {}, _warning(field, f"{field} is not used: {model.id} does not support it.")
            continue
        nearest = min(max(value, limit.min), limit.max)
        if nearest != value:
            message = f"{field} is {value:g}; {model.id} allows {limit.min:g} to {limit.max:g}, so {nearest:g} is used."
            yield {}, _warning(field, message)
        yield {name: nearest}, None


def _sampler(request: WebuiRequest, model: Model) -> Iterator[Change]:
    sampler, schedule = request.sampler_name or request.sampler_index or "", request.scheduler or ""
    is_default = sampler.strip().lower() in ("", DEFAULT_SAMPLER.lower(), "automatic")
    if is_default and schedule.strip().lower() in NEUTRAL_SCHEDULES:
        return
    available = model.choices.get("scheduler", ())
    scheduler = None if is_default else scheduler_of(sampler, schedule)
    if scheduler in available:
        yield {"scheduler": scheduler}, None
        return
    if schedule and (plain := scheduler_of(sampler)) in available:
        message = f"scheduler {quote(schedule)} is not used: {model.id} has no such schedule for {quote(sampler)}."
        yield {"scheduler": plain}, _warning("scheduler", message)
        return
    own = f"it has {', '.join(available)}, and its own" if available else "it has only its own"
    name = "scheduler" if is_default else "sampler_name"
    yield {}, _warning(name, f"{name} {quote(schedule if is_default else sampler)} is not used by {model.id}: {own}.")


def _clip_skip(request: WebuiRequest, model: Model) -> Iterator[Change]:
    """The webui counts from 1, which is the last layer: 2 leaves out one layer."""
    limit = model.limit("clip_skip")
    name, value = _layer_of(request)
    if not isinstance(limit, Range) or name is None:
        return
    if not isinstance(value, int) or value < 0:
        yield {}, _warning(name, f"{name} {quote(str(value))} is not used: it is not a whole number from 1.")
        return
    skipped_layers = max(value - 1, 0)
    nearest = int(min(max(skipped_layers, limit.min), limit.max))
    if nearest != skipped_layers:
        message = f"{name} is {value}; {model.id} allows {limit.min + 1:g} to {limit.max + 1:g}: {nearest + 1} is used."
        yield {}, _warning(name, message)
    yield {"clip_skip": nearest}, None


def _tiling(request: WebuiRequest, model: Model) -> Iterator[Change]:
    values = {**request.settings, **(request.model_extra or {})}
    if values.get("tiling") in (True, 1) and "tiling" not in model.lacks:
        yield {"tiling": True}, None


def _layer_of(request: WebuiRequest) -> tuple[str | None, Any]:
    """The field with the last layer of the text encoder that is used, and its value. None: there is none."""
    for name, values in (("clip_skip", request.model_extra), ("CLIP_stop_at_last_layers", request.settings)):
        if (value := (values or {}).get(name)) is not None:
            return name, value
    return None, None


def _strength(request: WebuiRequest, model: Model) -> Iterator[Change]:
    strength = request.denoising_strength
    if not isinstance(request, Img2ImgRequest) or strength is None:
        return
    if "strength" in model.lacks:
        yield {}, _warning("denoising_strength", f"denoising_strength is not used: {model.id} has none.")
        return
    if strength < MIN_STRENGTH:
        message = f"denoising_strength is {strength:g}; the smallest, {MIN_STRENGTH}, is used."
        yield {}, _warning("denoising_strength", message)
    yield {"strength": max(strength, MIN_STRENGTH)}, None


def _styles(request: WebuiRequest, model: Model) -> Iterator[Change]:
    """The first style that the model has; a job has one."""
    names = [name for name in request.styles or () if name and name != "None"]
    style = next((name for name in names if name in model.styles), None)
    if style is not None:
        yield {"style": style}, None
    if unused := [quote(name) for name in names if name != style]:
        available = ", ".join(model.styles) or "no styles"
        yield {}, _warning("styles", f"styles {shorten(', '.join(unused))} are not used: {model.id} has {available}.")


def _settings(request: WebuiRequest, model: Model) -> Iterator[Change]:
    settings = request.settings
    format_name = str(settings.get("samples_format") or "png").lower()
    output_format = FORMATS.get(format_name)
    if output_format is None:
        yield {}, _warning("samples_format", f"samples_format {quote(format_name)} is not known; png is used.")
    quality: Any = settings.get("jpeg_quality")
    if output_format in ("jpeg", "webp"):
        is_number = isinstance(quality, int | float) and not isinstance(quality, bool)
        compression = round(quality) if is_number and 0 <= quality <= 100 else None
        if quality is not None and compression is None:
            message = f"jpeg_quality {quote(str(quality))} is not used: it is not a number from 0 to 100."
            yield {}, _warning("jpeg_quality", message)
        yield {"output_format": output_format, "output_compression": compression}, None
    used_settings = _USED_SETTINGS | ({"CLIP_stop_at_last_layers"} if model.limit("clip_skip") else set())
    used_settings |= set() if "tiling" in model.lacks else {"tiling"}
    other_settings = {name: value for name, value in settings.items() if name not in used_settings}
    for name, reason in list(unused_options(other_settings))[:MAX_WARNINGS]:
        yield {}, _warning("override_settings", f"override_settings.{shorten(name)} is not used: {reason}.")


def _previews(request: WebuiRequest, model: Model) -> Iterator[Change]:
    """Previews cost time on a device, but money at a provider."""
    if not model.is_remote and request.settings.get("live_previews_enable", True) is not False:
        yield {"partial_images": PREVIEWS}, None


def _unused(request: WebuiRequest, model: Model) -> Iterator[Change]:
    """Warnings about everything else that a request has."""
    is_edit = isinstance(request, Img2ImgRequest)
    fields = dict(request.model_extra or {})
    if model.limit("clip_skip") is not None:
        fields.pop("clip_skip", None)
    if "tiling" not in model.lacks:
        fields.pop("tiling", None)
    full_res = fields.get("inpaint_full_res")
    if isinstance(request, Img2ImgRequest):
        if request.mask is not None and full_res not in (None, False, 0):
            yield {}, _warning("inpaint_full_res", "inpaint_full_res is not used: the whole image is edited.")
        if len(request.init_images) > 1:
            yield {}, _warning("init_images", "init_images: only the first image is used.", "images_not_used")
        if request.resize_mode == 3:
            yield {}, _warning("resize_mode", "resize_mode 3 is not used: the image is stretched, as with 0.")
    for name in request.alwayson_scripts or {}:
        if name.lower() != SCRIPT and not _is_idle(request.alwayson_scripts, name):
            yield {}, _warning("alwayson_scripts", f"The script {quote(name)} is not used: there are no others.")
    problems = list(unused_fields(fields, is_edit))
    for name, reason in problems[:MAX_WARNINGS]:
        yield {}, _warning(shorten(name), f"{shorten(name)} is not used: {reason}.")
    if len(problems) > MAX_WARNINGS:
        yield {}, _warning("body", f"{len(problems) - MAX_WARNINGS} further fields are not used.")


def _is_idle(scripts: Mapping[str, Any] | None, name: str) -> bool:
    """Whether a script that always runs is switched off: it has no arguments, or its first is false."""
    script = (scripts or {}).get(name)
    arguments = script.get("args") if isinstance(script, dict) else script
    return not arguments or (isinstance(arguments, list) and arguments[0] is False)


def _warning(param: str, message: str, code: str = "parameter_not_used") -> JobWarning:
    return warning(param, message, code)


def _refiner(request: WebuiRequest, model: Model) -> Iterator[Change]:
    """The refiner that the webui's name of a checkpoint stands for, such as `xl-refiner.safetensors [8d0ce6c0]`."""
    if not isinstance(request, Txt2ImgRequest) or request.refiner_checkpoint in (None, "", "None"):
        return
    label = re.sub(r"\s*\[[^\]]*\]$", "", request.refiner_checkpoint or "").removesuffix(".safetensors")
    name = next((spec.name for spec in model.refiners if spec.name.lower() == label.lower()), None)
    share, steps = request.refiner_switch_at, min(max(request.steps or model.steps.default, 1), model.steps.max)
    reason = ""
    if name is None:
        reason = f"{model.id} has {', '.join(spec.name for spec in model.refiners) or 'no refiners'}"
    elif request.enable_hr and model.hires is not None:
        reason = "enable_hr is set"
    elif share is not None and not 1 <= round(steps * share) < steps:
        reason = f"refiner_switch_at is {share:g}"
    if reason:
        yield {}, _warning("refiner_checkpoint", f"refiner_checkpoint {quote(label)} is not used: {reason}.")
    else:
        yield {"refiner": {"model": name, "switch_at": share}}, None


_STEPS = (
    _prompts, _count, _seed, _numbers, _sampler, _clip_skip, _tiling, _refiner, _strength, _styles, _settings,
    _previews, _unused,
)  # fmt: skip
