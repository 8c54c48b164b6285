"""What is wrong with the files of a model, found without torch and without loading it.

Only headers are read, so that a catalogue of large models is checked in a second, at each start.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.catalog import Model
from core.model_files.weights import PICKLES, check_complete

_WEIGHTS_CONFIG = "config.json"
"""Only components with weights have it; those of tokenizers and schedulers have other names."""


def explain_unusable(model: Model, models_dir: Path) -> str | None:
    """Why the files of a model cannot be loaded; None if nothing was found, or if the hub may have them."""
    if model.generator != "diffusers_local":
        return None
    try:
        return next(_reasons(model, models_dir), None)
    except OSError as error:
        return f"{error.filename}: {error.strerror}."


def _reasons(model: Model, models_dir: Path) -> Iterator[str]:
    if not model.source:
        yield "The catalogue gives the model no source."
        return
    if model.is_checkpoint:
        yield from _of_file(models_dir / model.source, "checkpoint")
    folder = models_dir / (model.config or model.source)
    if folder.is_dir():
        yield from _of_folder(folder, weights=not model.is_checkpoint)
    elif not is_hub_id(model.config or model.source):
        yield f"There is no folder {folder}."
    yield from _of_additions(model, models_dir)


def is_hub_id(source: str) -> bool:
    """Whether a source is `owner/name`; anything else is a path."""
    return source.count("/") == 1 and not source.startswith((".", "/"))


def _of_folder(folder: Path, *, weights: bool) -> Iterator[str]:
    """Of a diffusers folder; without weights, its configuration only."""
    index_file = folder / "model_index.json"
    if not index_file.is_file():
        yield f"{folder} is not a diffusers folder; it has no model_index.json."
        return
    index = _read_json(index_file)
    if not isinstance(index, dict) or "_class_name" not in index:
        yield f"{index_file} is not valid: it names no pipeline."
        return
    if not isinstance(index["_class_name"], str):
        yield f"{index_file} asks for code of its own, which is never run."
        return
    for name, value in index.items():
        if not isinstance(value, list) or len(value) != 2 or value[1] is None:
            continue
        component = folder / name
        if component.is_dir():
            yield from _of_component(component, weights=weights)
        elif weights:
            yield f"{folder} is incomplete: there is no {name}, which its model_index.json names."


def _of_component(folder: Path, *, weights: bool) -> Iterator[str]:
    config = folder / _WEIGHTS_CONFIG
    if config.is_file() and not isinstance(_read_json(config), dict):
        yield f"{config} is not valid JSON."
    files = sorted(folder.glob("*.safetensors"))
    if pickles := sorted({path.suffix for path in folder.iterdir()} & PICKLES) if not files else []:
        yield (
            f"{folder} has pickled weights only ({', '.join(pickles)}), which can run code when loaded. "
            "Convert them to safetensors."
        )
    for path in files:
        yield from _of_file(path, "weights")
    for index in folder.glob("*.safetensors.index.json"):
        content = _read_json(index)
        shards = content.get("weight_map", {}).values() if isinstance(content, dict) else []
        if missing := sorted({str(shard) for shard in shards if not (folder / str(shard)).is_file()}):
            yield f"{folder} is incomplete: there is no {missing[0]}, which {index.name} names."
    if weights and config.is_file() and not files and not list(folder.glob("*.index.json")):
        yield f"{folder} has no weights."


def _of_additions(model: Model, models_dir: Path) -> Iterator[str]:
    """Of the files beside the pipeline that the catalogue names."""
    for lora in model.loras:
        yield from _of_file(models_dir / lora.file, f"LoRA {lora.name!r}")
    for fused_lora in model.fused_loras:
        yield from _of_file(models_dir / fused_lora.file, "fused LoRA")
    for inversion in model.textual_inversions:
        yield from _of_file(models_dir / inversion.file, f"textual inversion {inversion.token!r}")
    if model.vae is not None and model.vae.source and not (path := models_dir / model.vae.source).exists():
        yield f"The vae is missing: there is no {path}."
    for control in model.controls:
        folder = models_dir / (control.config or control.source)
        paths = [] if control.is_lora or not control.source else [folder / _WEIGHTS_CONFIG]
        if control.is_lora or control.config:
            paths.append(models_dir / control.source)
        for path in paths:
            if not path.is_file():
                yield f"The control network {control.type!r} is missing: there is no {path}."
    for adapter in model.ip_adapters:
        yield from _of_file(models_dir / adapter.file, f"IP-Adapter {adapter.name!r}")
    for kind, file in _folders_of_networks(model):
        if not (path := models_dir / file).is_file():
            yield f"The {kind} is missing: there is no {path}."
            return
        for weights in sorted(path.parent.rglob("*.safetensors")):
            yield from _of_file(weights, kind)
    if model.words and not (path := models_dir / model.words).is_file():
        yield f"The file of its words is missing: there is no {path}."


def _folders_of_networks(model: Model) -> Iterator[tuple[str, str]]:
    """The networks beside the pipeline, with the file that a folder of such a network has."""
    for adapter in model.ip_adapters:
        yield f"image encoder of the IP-Adapter {adapter.name!r}", f"{adapter.image_encoder}/{_WEIGHTS_CONFIG}"
    for kind, source in model.preprocessors.items():
        yield f"preprocessor {kind!r}", f"{source}/{_WEIGHTS_CONFIG}"
    for refiner in model.refiners:
        yield f"refiner {refiner.name!r}", f"{refiner.source}/model_index.json"
    for upscaler in model.hires.networks if model.hires is not None else ():
        yield f"upscaler {upscaler.name!r}", f"{upscaler.source}/{_WEIGHTS_CONFIG}"
    if model.matting is not None:
        yield "matting", f"{model.matting.source}/{_WEIGHTS_CONFIG}"


def _of_file(path: Path, kind: str) -> Iterator[str]:
    """Of one file of weights."""
    if not path.is_file():
        yield f"The {kind} is missing: there is no {path}."
        return
    if path.suffix != ".safetensors":  # gguf
        return
    try:
        check_complete(path)
    except ValueError as error:
        yield f"The {kind} cannot be read: {error}."


def _read_json(path: Path) -> Any:
    """The content of a file; None if it is no JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError:
        return None
