"""Text encoders that several models of this process share: equal files are one network in memory.

FLUX.1 dev, Kontext and Fill have the same text encoders, and so have Qwen-Image and its edits. A network is shared if
its files have the same contents, and if no option of the two models changes it. It is freed when the last pipeline
that has it is gone.
"""

import json
import re
from collections.abc import Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet, WeakValueDictionary

import diffusers
import torch

from core.catalog import Model
from worker.generators.checkpoint import has_denoiser_only
from worker.generators.component_files import component_bytes
from worker.generators.digests import file_sha256
from worker.generators.memory import free, size_of
from worker.generators.source import Files

_SHARED_NAME: Final = re.compile(r"text_encoder(_[2-4])?")
_HUB_BLOB: Final = re.compile(r"[0-9a-f]{64}")  # the cache of the hub names a large file by its SHA-256
_NOT_OF_THE_NETWORK: Final = ("_name_or_path", "_diffusers_version", "transformers_version", "torch_dtype", "dtype")
"""Entries of config.json that differ between the folders of one network."""

Contents = tuple[str, tuple[tuple[str, str], ...]]
Stamp = tuple[str, tuple[tuple[str, int, int], ...]]
"""A folder, and the name, size and time of change of each of its files that are loaded."""


@dataclass(frozen=True, slots=True)
class ComponentKey:
    """Equal for components that are one network in memory."""

    files: Stamp  # of the first folder that had these contents
    kind: str
    dtype: torch.dtype
    device: torch.device
    quantization: str
    variant: str


_networks: "WeakValueDictionary[ComponentKey, torch.nn.Module]" = WeakValueDictionary()
_users: "dict[ComponentKey, WeakSet[SharedComponents]]" = {}
_folders: dict[Path, Stamp] = {}
"""Folders of different contents."""


class SharedComponents:
    """The components of one model that it may share. Used only while the device is held."""

    def __init__(self, model: Model, files: Files, device: torch.device, dtype: torch.dtype) -> None:
        """Reads the files of the text encoders if there are others of the same sizes."""
        folder = files.folder
        self._variant = str(model.options.get("variant", ""))
        self._keys: dict[str, ComponentKey] = {}
        self._estimates: dict[ComponentKey, int] = {}
        for name, kind in _shared_kinds(model, files, device).items():
            quantization = model.quantization.get(name, "")
            key = ComponentKey(_equal_files(folder / name), kind, dtype, device, quantization, self._variant)
            self._keys[name] = key
            self._estimates[key] = component_bytes(folder / name, dtype, self._variant, quantization)

    def networks(self) -> dict[str, torch.nn.Module]:
        """The networks that other models have loaded, by the name of the component."""
        networks = {name: _networks.get(key) for name, key in self._keys.items()}
        return {name: network for name, network in networks.items() if network is not None}

    def use(self, pipe: Any) -> None:
        """Note that a pipeline, which is on the device now, has these components."""
        for name, key in self._keys.items():
            _networks.setdefault(key, pipe.components[name])
            _users.setdefault(key, WeakSet()).add(self)

    def leave_device(self) -> list[torch.nn.Module]:
        """Note that the pipeline leaves the device. Returns the networks that others have there, and that stay."""
        for key in self._keys.values():
            _users.get(key, WeakSet[SharedComponents]()).discard(self)
        networks = [_networks.get(key) for key in self._keys.values() if _users.get(key)]
        return [network for network in networks if network is not None]

    def release(self) -> None:
        """Note that the pipeline is gone. A network that only models in RAM still have follows them there.

        On a broken device it stays, as nothing can be moved.
        """
        for key in self._keys.values():
            _users.get(key, WeakSet[SharedComponents]()).discard(self)
            network = None if _users.get(key) else _networks.get(key)
            if network is not None:
                with suppress(RuntimeError):
                    network.to(torch.device("cpu"))
                    free(key.device)

    def sizes(self) -> Mapping[Hashable, int]:
        """The bytes of each component; of one that is not loaded, an estimate from its files."""
        networks = {key: _networks.get(key) for key in self._keys.values()}
        return {
            key: self._estimates[key] if network is None else size_of([network]) for key, network in networks.items()
        }


def _shared_kinds(model: Model, files: Files, device: torch.device) -> dict[str, str]:
    """The class of each component that can be shared: no option of the model changes it, and it stays on the device."""
    folder = files.folder
    if (model.offload != "none" and device.type != "cpu") or model.textual_inversions:
        return {}
    if files.checkpoint is not None and not has_denoiser_only(files.checkpoint):
        return {}
    try:
        index = json.loads((folder / "model_index.json").read_text("utf-8"))
        entries = {name: value for name, value in index.items() if isinstance(value, list) and len(value) > 1}
    except (OSError, ValueError, AttributeError):  # loading it says why
        return {}
    lora_names: tuple[str, ...] = ()
    if model.loras or model.fine_tuning or model.fused_loras or any(spec.is_lora for spec in model.controls):
        pipeline = getattr(diffusers, str(index.get("_class_name")), None)
        lora_names = tuple(getattr(pipeline, "_lora_loadable_modules", ()))
    return {
        name: str(value[1])
        for name, value in entries.items()
        if _SHARED_NAME.fullmatch(name) and value[0] == "transformers" and name not in lora_names
        if (folder / name / "config.json").is_file()
    }


def _equal_files(folder: Path) -> Stamp:
    """The files of the first folder with the same contents. Only files of equal sizes are read and compared."""
    folder = folder.resolve()
    stamp = _stamp(folder)
    if _folders.get(folder) == stamp:
        return stamp
    _folders.pop(folder, None)  # its files have changed
    for other, files in _folders.items():
        if _sizes(files) == _sizes(stamp) and files == _stamp(other) and _contents(other) == _contents(folder):
            return files
    _folders[folder] = stamp
    return stamp


def _stamp(folder: Path) -> Stamp:
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("config.json")])
    statuses = [(path.name, path.stat()) for path in files]
    return str(folder), tuple((name, status.st_size, status.st_mtime_ns) for name, status in statuses)


def _sizes(files: Stamp) -> list[tuple[str, int]]:
    return [(name, size) for name, size, _ in files[1] if name != "config.json"]


def _contents(folder: Path) -> Contents:
    """The configuration of a network, and the SHA-256 of its weights."""
    config = dict(json.loads((folder / "config.json").read_text("utf-8")))
    entries = {name: value for name, value in config.items() if name not in _NOT_OF_THE_NETWORK}
    text = json.dumps(entries, sort_keys=True)
    return text, tuple((path.name, _digest(path.resolve())) for path in sorted(folder.glob("*.safetensors")))


def _digest(path: Path) -> str:
    status = path.stat()
    return path.name if _HUB_BLOB.fullmatch(path.name) else _digest_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest_of(path: Path, _size: int, _time: int) -> str:
    return file_sha256(path)
