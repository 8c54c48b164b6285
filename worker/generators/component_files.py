"""The memory that the components of a pipeline will take, from the headers of their files."""

from math import prod
from pathlib import Path

import torch

from core.catalog import Model
from core.model_files.weights import read_shapes
from worker.generators.checkpoint import numbers_of, parts_of

_DENOISERS = ("transformer", "unet")


def estimated_bytes(folder: Path, checkpoint: Path | None, model: Model, dtype: torch.dtype) -> dict[str, int]:
    """By component, the bytes that a model's weights will take. checkpoint: a file for some of them."""
    sizes: dict[str, int] = {}
    folders = [path for path in folder.iterdir() if path.is_dir()]
    if checkpoint is not None:
        sizes["checkpoint"] = numbers_of(checkpoint, dtype) * dtype.itemsize
        folders = [path for path in folders if path.name not in parts_of(checkpoint)]
    for component in folders:
        quantization = model.quantization.get(component.name, "")
        if model.layerwise_casting and component.name in _DENOISERS:
            quantization = "float8"
        variant = str(model.options.get("variant", ""))
        sizes[component.name] = component_bytes(component, dtype, variant, quantization)
    return sizes


def component_bytes(folder: Path, dtype: torch.dtype, variant: str = "", quantization: str = "") -> int:
    """The bytes of a component, of the variant that is loaded. quantization: its kind; "" for none."""
    weights = list(folder.glob("*.safetensors"))
    of_variant = [path for path in weights if variant and f".{variant}" in path.name]
    files = of_variant or [path for path in weights if path.name.count(".") == 1]
    return sum(_file_bytes(path, dtype, quantization) for path in files)


def _file_bytes(path: Path, dtype: torch.dtype, quantization: str) -> int:
    """0 if the file cannot be read: loading it says why. Of a quantised network, only matrices have smaller numbers."""
    try:
        shapes = list(read_shapes(path).values())
    except (OSError, ValueError):
        return 0
    matrices = sum(prod(shape) for shape in shapes if len(shape) == 2)
    vectors = sum(prod(shape) for shape in shapes) - matrices
    size = 0.5 if quantization.endswith("4bit") else 1 if quantization else dtype.itemsize
    return round(matrices * min(size, dtype.itemsize)) + vectors * dtype.itemsize
