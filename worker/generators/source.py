"""Finds and loads the files of a diffusers model: a folder, a repository of the hub, or a checkpoint.

It refuses pickled weights and code that comes with a model, because both could run anything. `diffusers_local.py`
chooses device and dtype and generates the images.
"""

import importlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import diffusers
import httpx
import torch
from huggingface_hub import hf_hub_download, snapshot_download

from core.catalog import Model
from core.errors import first_line
from core.generation_errors import DeviceFailed, ModelUnavailable, OutOfMemory
from core.model_files.problems import is_hub_id
from core.model_files.weights import PICKLES
from worker.generators.checkpoint import check_readable, load_checkpoint
from worker.generators.control_lora import with_control_lora
from worker.generators.device_errors import is_device_failure, is_out_of_memory
from worker.generators.digests import folder_sha256
from worker.generators.karlo import KarloLoader
from worker.generators.options import apply_options, check_packages, place, quantization_of
from worker.generators.packages import missing_package
from worker.generators.processors import processors

_log = logging.getLogger(__name__)

# Pipelines that live here instead of in diffusers, by the `_class_name` of model_index.json.
_OWN_PIPELINES: Final = {"UnclipPipeline": "worker.generators.unclip.pipeline"}


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a model: the folder of a pipeline, and the checkpoint whose weights replace those of the folder.

    commit: of the hub's repository, if the model came from there.
    """

    folder: Path
    checkpoint: Path | None = None
    commit: str | None = None


def check_loadable(model: Model, models_dir: Path) -> None:
    """Check the packages and the class of a model, without loading it. Raises ModelUnavailable."""
    check_packages(model)
    folder = models_dir / (model.config or model.source)
    if folder.is_dir():
        _pipeline_class(model, folder)


def find(model: Model, models_dir: Path) -> Files:
    """The files of a model. What is on the hub only is downloaded. Raises ModelUnavailable."""
    if not model.source:
        raise ModelUnavailable(f"The catalogue gives model {model.id} no source.")
    if model.is_checkpoint:
        checkpoint = models_dir / model.source
        if not checkpoint.is_file():
            raise ModelUnavailable(f"Model {model.id}: there is no file {checkpoint}.")
        try:
            check_readable(checkpoint)
        except ValueError as error:
            raise ModelUnavailable(f"Model {model.id}: {error}.") from None
        return Files(_config_folder(model, models_dir), checkpoint)
    folder = models_dir / model.source
    if folder.is_dir():
        return Files(folder)
    if not is_hub_id(model.source):
        raise ModelUnavailable(f"Model {model.id}: there is no folder {folder}.")
    return _download(model, folder)


def _config_folder(model: Model, models_dir: Path) -> Path:
    """The folder of a checkpoint's configuration. Nothing is downloaded."""
    folder = models_dir / model.config
    if folder.is_dir():
        return folder
    if not is_hub_id(model.config):
        raise ModelUnavailable(f"Model {model.id}: there is no folder {folder}, its config.")
    try:
        return Path(snapshot_download(model.config, revision=model.revision, local_files_only=True))
    except (OSError, ValueError) as error:
        raise ModelUnavailable(
            f"Model {model.id}: its config {model.config} is neither a folder nor in the cache of the hub. Where the "
            f"hub can be reached: hf download {model.config} --include '*.json' '*.txt' '*.model'"
        ) from error


def _download(model: Model, folder: Path) -> Files:
    """The files of a repository of the hub."""
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
    return Files(Path(snapshot), commit=Path(snapshot).name)  # the cache names a snapshot by its commit


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
    return KarloLoader if name.startswith(("UnCLIP", "StableCascade")) else diffusers.DiffusionPipeline


def load_pipeline(
    model: Model,
    files: Files,
    models_dir: Path,
    device: torch.device,
    dtype: torch.dtype,
    components: Mapping[str, torch.nn.Module] = MappingProxyType({}),
) -> tuple[Any, Mapping[str, str]]:
    """Load a pipeline to a device. Returns it, and what receipts say about the options with which it was loaded.

    components: networks that are loaded already, by name. Raises ModelUnavailable, OutOfMemory, DeviceFailed.
    """
    folder = files.folder
    check_packages(model)
    pipeline = _pipeline_class(model, folder)
    _refuse_pickles(model, folder)
    try:
        quantization = quantization_of(model, folder, dtype)
        if files.checkpoint is not None:
            pipe = load_checkpoint(model, files.checkpoint, folder, dtype, components)
        else:
            pipe = pipeline.from_pretrained(
                folder,
                dtype=dtype,
                variant=model.options.get("variant"),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                **processors(folder),
                **components,
                **({} if quantization is None else {"quantization_config": quantization}),
            )
        receipt = apply_options(model, pipe, folder, models_dir, dtype)
        pipe, own = with_control_lora(model, pipe, models_dir)
        receipt = {**receipt, **own}
        place(model, pipe, device)
    except ModelUnavailable:
        raise
    except Exception as error:  # a broken folder can make the libraries raise anything
        if is_out_of_memory(error):
            raise OutOfMemory(f"Model {model.id} does not fit into the memory of {device}.") from error
        if is_device_failure(error):
            raise DeviceFailed(f"Model {model.id} could not be loaded to {device}: {first_line(error)}") from error
        if (package := missing_package(error)) is not None:
            raise ModelUnavailable(
                f"Model {model.id} needs the package {package}, which is not installed here: pip install {package}"
            ) from error
        raise ModelUnavailable(
            f"Model {model.id}: {files.checkpoint or folder} could not be loaded: {type(error).__name__}: {error}"
        ) from error
    return pipe, receipt


def _refuse_pickles(model: Model, folder: Path) -> None:
    for component in (path for path in folder.iterdir() if path.is_dir()):
        suffixes = {path.suffix for path in component.iterdir()}
        if suffixes & PICKLES and ".safetensors" not in suffixes:
            raise ModelUnavailable(
                f"Model {model.id}: {component} has pickled weights only ({', '.join(sorted(suffixes & PICKLES))}), "
                "which can run code when loaded. Convert them to safetensors."
            )


def digest(files: Files) -> str:
    """SHA-256 of the names and contents of all files that are loaded: the revision of a model without a commit."""
    return folder_sha256(files.folder, *(() if files.checkpoint is None else (files.checkpoint,)))
