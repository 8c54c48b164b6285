"""Finds and loads the files of a diffusers model: a folder beside the catalogue, or a repository of the hub.

It refuses pickled weights and code that comes with a model, because both could run anything. `diffusers_local.py`
chooses device and dtype and generates the images.
"""

import importlib
import json
import logging
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, Final

import diffusers
import httpx
import torch
from huggingface_hub import hf_hub_download

from core.catalog import Model
from core.errors import first_line
from core.generation_errors import DeviceFailed, ModelUnavailable, OutOfMemory
from core.weights import count_numbers
from worker.generators.device_errors import is_device_failure, is_out_of_memory
from worker.generators.karlo import KarloLoader

_log = logging.getLogger(__name__)

# Pipelines that live here instead of in diffusers, by the `_class_name` of model_index.json.
_OWN_PIPELINES: Final = {"UnclipPipeline": "worker.generators.unclip.pipeline"}
_PICKLES: Final = {".bin", ".ckpt", ".pt", ".pth", ".pkl"}
_READ_AT_LOAD: Final = {".safetensors", ".json", ".txt", ".model"}  # the latter two hold vocabularies


def find(model: Model, models_dir: Path) -> tuple[Path, str | None]:
    """The folder that holds a model and, if it came from the hub, its commit. Raises ModelUnavailable."""
    folder = models_dir / model.source
    if not model.source:
        raise ModelUnavailable(f"The catalogue gives model {model.id} no source.")
    if folder.is_dir():
        return folder, None
    # A hub id is `owner/name`; anything else is the path of a folder.
    if model.source.count("/") != 1 or model.source.startswith((".", "/")):
        raise ModelUnavailable(f"Model {model.id}: there is no folder {folder}.")
    _log.info("Looking for %s on the hub; the first time it is downloaded, which may take long", model.source)
    try:
        index = Path(hf_hub_download(model.source, "model_index.json", revision=model.revision))
        pipeline = _pipeline_class(model, index.parent)
        variant = model.options.get("variant")
        snapshot = pipeline.download(
            model.source, revision=model.revision, variant=variant, use_safetensors=True, trust_remote_code=False
        )
    except (OSError, ValueError, httpx.HTTPError) as error:
        at = f" at revision {model.revision}" if model.revision else ""
        raise ModelUnavailable(
            f"Model {model.id}: there is no folder {folder}, and {model.source}{at} could not be fetched from the hub "
            f"({type(error).__name__}: {first_line(error)}). Where the hub is out of reach, copy the "
            "model's folder into models_dir, or fill the cache (HF_HOME) elsewhere and set HF_HUB_OFFLINE=1."
        ) from error
    return Path(snapshot), Path(snapshot).name  # the cache names a snapshot by its commit


def _pipeline_class(model: Model, folder: Path) -> Any:
    """The class that loads a folder. Raises ModelUnavailable if it is missing or must not be loaded."""
    path = folder / "model_index.json"
    try:
        index = json.loads(path.read_text("utf-8"))
        name = index["_class_name"]
    except FileNotFoundError:
        raise ModelUnavailable(
            f"Model {model.id}: {folder} is not a diffusers folder; it has no model_index.json."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(f"Model {model.id}: {path} is not valid: {error!r}.") from error
    if not isinstance(name, str):
        raise ModelUnavailable(f"Model {model.id}: {path} asks for code of its own ({name}), which is never run.")
    if name in _OWN_PIPELINES:
        return getattr(importlib.import_module(_OWN_PIPELINES[name]), name)
    if not hasattr(diffusers, name):
        raise ModelUnavailable(f"Model {model.id}: diffusers {diffusers.__version__} has no pipeline {name}.")
    return KarloLoader if name.startswith("UnCLIP") else diffusers.DiffusionPipeline


def load_pipeline(model: Model, folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load the pipeline of a folder to a device. Raises ModelUnavailable."""
    pipeline = _pipeline_class(model, folder)
    for component in (path for path in folder.iterdir() if path.is_dir()):
        suffixes = {path.suffix for path in component.iterdir()}
        if suffixes & _PICKLES and ".safetensors" not in suffixes:
            raise ModelUnavailable(
                f"Model {model.id}: {component} has pickled weights only ({', '.join(sorted(suffixes & _PICKLES))}), "
                "which can run code when loaded. Convert them to safetensors."
            )
    try:
        pipe = pipeline.from_pretrained(
            folder,
            dtype=dtype,
            variant=model.options.get("variant"),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
        pipe.to(device)
    except Exception as error:  # a broken folder can make the libraries raise anything
        if is_out_of_memory(error):
            raise OutOfMemory(f"Model {model.id} does not fit into the memory of {device}.") from error
        if is_device_failure(error):
            raise DeviceFailed(f"Model {model.id} could not be loaded to {device}: {first_line(error)}") from error
        raise ModelUnavailable(
            f"Model {model.id}: {folder} could not be loaded: {type(error).__name__}: {error}"
        ) from error
    return pipe


def estimated_bytes(folder: Path, model: Model, dtype: torch.dtype) -> int:
    """The memory that a model's weights will take, from the headers of their files. 0 if there are none."""
    variant = model.options.get("variant")
    total = 0
    for component in (path for path in folder.iterdir() if path.is_dir()):
        files = list(component.glob("*.safetensors"))  # of several variants one is loaded
        variant_files = [path for path in files if variant is not None and f".{variant}" in path.name]
        total += sum(
            count_numbers(path) for path in variant_files or files if variant_files or path.name.count(".") == 1
        )
    return total * dtype.itemsize


def digest(folder: Path) -> str:
    """SHA-256 of the names and contents of all files that are loaded: the revision of a model without a commit."""
    total = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _READ_AT_LOAD):
        with path.open("rb") as file:
            content = file_digest(file, "sha256")
        total.update(f"{path.relative_to(folder).as_posix()} {content.hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"
