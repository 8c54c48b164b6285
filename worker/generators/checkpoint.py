"""Loads a checkpoint: one file with a whole model, or with its denoiser only.

The configuration, the tokenizers, and the parts that the file does not have come from the folder of a diffusers
pipeline of the same family. Without such a folder diffusers would ask the hub.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
from diffusers import GGUFQuantizationConfig
from diffusers.loaders.single_file_model import SINGLE_FILE_LOADABLE_CLASSES

from core.catalog import Model
from core.generation_errors import ModelUnavailable
from core.model_files.checkpoints import has_all_parts
from core.model_files.weights import count_numbers, read_shapes

_LIBRARIES: Final = {"diffusers", "transformers"}
_GGUF: Final = b"GGUF"
_DENOISERS: Final = ("transformer", "unet")
_OTHER_PARTS: Final = ("text_encoder", "text_encoder_2", "vae")


def load_checkpoint(
    model: Model, file: Path, folder: Path, dtype: torch.dtype, components: Mapping[str, torch.nn.Module]
) -> Any:
    """The pipeline of a checkpoint, on the CPU. folder: of the configuration. Raises ModelUnavailable, and others.

    components: networks that are loaded already; only for a file that has the denoiser only.
    """
    index = _read_index(model, folder)
    try:
        if has_denoiser_only(file):
            pipe = _load_denoiser(model, index, file, folder, dtype, components)
        else:
            pipe = _load_whole(model, index, file, folder, dtype)
    except NotImplementedError:  # torch's, for a tensor without memory
        raise _incomplete(model, file, folder) from None
    if not _is_complete(pipe):
        raise _incomplete(model, file, folder)
    return pipe


def parts_of(file: Path) -> tuple[str, ...]:
    """The components that come from a checkpoint, so that those of the folder are not loaded. Raises ValueError."""
    return _DENOISERS if has_denoiser_only(file) else (*_DENOISERS, *_OTHER_PARTS)


def has_denoiser_only(file: Path) -> bool:
    """Whether the other components of a checkpoint's pipeline come from the folder of its configuration."""
    return _is_gguf(file) or not has_all_parts(read_shapes(file))


def check_readable(file: Path) -> None:
    """Raises ValueError if a file is not of the format that its name says."""
    if not _is_gguf(file):
        read_shapes(file)
        return
    with file.open("rb") as content:
        if content.read(len(_GGUF)) != _GGUF:
            raise ValueError(f"{file} is no GGUF file")


def numbers_of(file: Path, dtype: torch.dtype) -> int:
    """The numbers of a file; of a quantised one, as many of the dtype as take its bytes."""
    return file.stat().st_size // dtype.itemsize if _is_gguf(file) else count_numbers(file)


def _is_gguf(file: Path) -> bool:
    return file.suffix == ".gguf"


def _read_index(model: Model, folder: Path) -> dict[str, Any]:
    """The index of the folder. The names of its classes are imported, so only those of the two libraries may occur."""
    index: dict[str, Any] = json.loads((folder / "model_index.json").read_text("utf-8"))
    for name, value in index.items():
        if isinstance(value, list) and value[0] is not None:
            library = value[0]
            if library not in _LIBRARIES and not hasattr(diffusers.pipelines, str(library)):
                raise ModelUnavailable(
                    f"Model {model.id}: {folder} takes {name} from {library!r}, which is neither of diffusers nor of "
                    "transformers; code of its own is never run."
                )
    return index


def _load_whole(model: Model, index: dict[str, Any], file: Path, folder: Path, dtype: torch.dtype) -> Any:
    pipeline = getattr(diffusers, index["_class_name"])
    if not hasattr(pipeline, "from_single_file"):
        raise ModelUnavailable(f"Model {model.id}: {pipeline.__name__} cannot be loaded from one file.")
    return pipeline.from_single_file(str(file), config=str(folder), local_files_only=True, dtype=dtype)


def _load_denoiser(
    model: Model,
    index: dict[str, Any],
    file: Path,
    folder: Path,
    dtype: torch.dtype,
    components: Mapping[str, torch.nn.Module],
) -> Any:
    """The pipeline of the folder, with the denoiser of the file."""
    name = next((name for name in _DENOISERS if isinstance(index.get(name), list)), None)
    if name is None:
        raise ModelUnavailable(f"Model {model.id}: {index['_class_name']} has no denoiser that a file could replace.")
    kind = getattr(diffusers, index[name][1])
    if kind.__name__ not in SINGLE_FILE_LOADABLE_CLASSES:
        raise ModelUnavailable(f"Model {model.id}: {kind.__name__} cannot be loaded from one file.")
    options = {"quantization_config": GGUFQuantizationConfig(compute_dtype=dtype)} if _is_gguf(file) else {}
    denoiser = kind.from_single_file(
        str(file), config=str(folder), subfolder=name, local_files_only=True, dtype=dtype, **options
    )
    return getattr(diffusers, index["_class_name"]).from_pretrained(
        folder,
        **{name: denoiser},
        **components,
        dtype=dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )


def _incomplete(model: Model, file: Path, folder: Path) -> ModelUnavailable:
    return ModelUnavailable(
        f"Model {model.id}: {file.name} lacks weights of the model that its config {folder} describes; the config must "
        "be of the same family."
    )


def _is_complete(pipe: Any) -> bool:
    """Whether all weights were in the file: the place of one that was not is still without memory."""
    modules = [part for part in pipe.components.values() if isinstance(part, torch.nn.Module)]
    return not any(tensor.is_meta for module in modules for tensor in module.parameters())
