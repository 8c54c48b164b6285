"""A model of the catalogue is tried: loaded, and drawn with once, and once more with each LoRA, control and adapter."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import CommandError

if TYPE_CHECKING:
    from core.catalog import Model
    from core.parameters.control import ControlSpec
    from core.generation import ImageRequest
    from core.settings import Settings

PROMPT = "A cat sitting on a sofa."
SEED = 7


def try_model(model: "Model", settings: "Settings", output: Path | None) -> str | None:
    """Generate an image, print what it took, and unload the model. Returns why it failed."""
    from cli.bench import SilentReporter
    from core.errors import InvalidRequest
    from core.generation_errors import GenerationError
    from worker.generators import build

    part = ""
    try:
        request = _first_request(model, settings)
        started = time.perf_counter()
        generator = build(model, settings)
        try:
            generator.load()
            loaded_at = time.perf_counter()
            (image,) = generator.generate([request], SilentReporter())
            generated_at = time.perf_counter()
            for name, trial in _trials(model, request, settings):  # one that does not fit is an error
                part = name
                generator.generate([trial], SilentReporter())
            receipt, megabytes = generator.receipt(), generator.memory().weights >> 20
        finally:
            generator.unload()  # also after a failure: the next model needs the memory
    except (GenerationError, InvalidRequest) as error:
        reason = getattr(error, "detail", None) or error.message
        return f"{part}: {reason}" if part else reason
    load, generate = loaded_at - started, generated_at - loaded_at
    place = f"{request.parameters.size} on {receipt.get('device')} ({receipt.get('dtype')})"
    print(f"{model.id}: ok, {place}: load {load:.1f} s, image {generate:.1f} s, {megabytes} MB{_trial_counts(model)}")
    if output is not None:
        path = output / f"{model.id.replace('/', '-')}.png"
        try:
            output.mkdir(parents=True, exist_ok=True)
            image.save(path)
        except OSError as error:
            raise CommandError(f"{path} cannot be written ({error.strerror}).") from None
    return None


def _first_request(model: "Model", settings: "Settings") -> "ImageRequest":
    """An image of the model's defaults, with a control image if it draws only with one. Raises InvalidRequest."""
    from core.catalog import Catalog
    from core.generation import ImageRequest
    from core.requests.job import JobRequest
    from core.requests.plan import plan

    # The plan needs no control image: the one below belongs to no file.
    plain = model.model_copy(update={"controls": ()})
    plain.__dict__.pop("lacks", None)
    catalog = Catalog(default=model.id, models=(plain,))
    job = plan(JobRequest(model=model.id, prompt=PROMPT, seed=SEED), catalog, settings, "check")
    request = ImageRequest(job.prompt, job.parameters)
    for spec in model.required_controls:
        request = _with_control(request, spec)
    return request


def _trials(model: "Model", request: "ImageRequest", settings: "Settings") -> Iterator[tuple[str, "ImageRequest"]]:
    """Requests that name each LoRA, control network and IP-Adapter of a model once, and what each is called."""
    from core.parameters.loras import Lora
    from core.parameters.reference_images import ReferenceImage

    for lora in model.loras:
        yield f"LoRA {lora.name}", _with_changes(request, loras=[Lora(name=lora.name, weight=lora.weight)])
    for spec in model.controls:
        if spec.is_required:
            continue
        base = (
            _with_mask(request, model) if _fills_masks(settings.models_dir / (spec.config or spec.source)) else request
        )
        yield f"control {spec.type}", _with_control(base, spec)
    for adapter in model.ip_adapters:
        use = ReferenceImage(adapter=adapter.name, weight=adapter.weight)
        yield f"IP-Adapter {adapter.name}", _with_changes(request, (_image(request),), reference_images=[use])


def _with_control(request: "ImageRequest", spec: "ControlSpec") -> "ImageRequest":
    """The request with a control image, preprocessed as the catalogue says for its type."""
    from core.generation import with_control

    request = with_control(request, spec)
    if spec.preprocess == "none":
        return request
    controls = request.parameters.control or ()
    return _with_changes(
        request, control=[control.model_copy(update={"preprocess": spec.preprocess}) for control in controls]
    )


def _fills_masks(folder: Path) -> bool:
    """Whether a control network is for inpainting."""
    from core.model_files.control_networks import is_for_inpainting

    try:
        return is_for_inpainting(json.loads((folder / "config.json").read_text("utf-8")))
    except (OSError, ValueError, AttributeError):
        return False


def _with_mask(request: "ImageRequest", model: "Model") -> "ImageRequest":
    """An edit of the left half of an image."""
    image = _image(request)
    request = _with_changes(request, strength=model.strength)
    return replace(request, operation="edit", image=image, mask=image.convert("L"))


def _image(request: "ImageRequest") -> Any:
    """An image of the request's size, half white and half black."""
    from PIL import Image

    image = Image.new("RGB", (request.width, request.height))
    image.paste("white", (0, 0, request.width // 2, request.height))
    return image


def _with_changes(request: "ImageRequest", references: tuple[Any, ...] = (), **changes: object) -> "ImageRequest":
    parameters = request.parameters.model_copy(update=changes)
    return replace(request, parameters=parameters, reference_images=references)


def _trial_counts(model: "Model") -> str:
    counts = {
        "LoRA(s)": len(model.loras),
        "control(s)": len(model.controls),
        "IP-Adapter(s)": len(model.ip_adapters),
    }
    parts = [f"{count} {name}" for name, count in counts.items() if count]
    return f", {', '.join(parts)} tried" if parts else ""
