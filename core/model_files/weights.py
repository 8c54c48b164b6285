"""Files of weights in the safetensors format, read without torch: which tensors they have, and how many numbers.

A file begins with the length of its header, 8 bytes, and the header, a JSON object with the shape of each tensor
(https://github.com/huggingface/safetensors#format).
"""

import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
PICKLES = frozenset({".bin", ".ckpt", ".pkl", ".pt", ".pth"})
"""Suffixes of files that could run code when they are loaded."""

Shapes = Mapping[str, Sequence[int]]
"""The shape of each tensor of a file, by name."""


def read_shapes(path: Path) -> Shapes:
    """The tensors of a file. Raises ValueError with the reason, or OSError."""
    try:
        header = _read_header(path)
        return {name: tuple(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
    except (KeyError, TypeError, AttributeError):
        raise ValueError(f"{path} is no safetensors file: its header cannot be read") from None


def read_metadata(path: Path) -> Mapping[str, str]:
    """What the writer of a file noted about it. Raises ValueError with the reason, or OSError."""
    metadata = _read_header(path).get("__metadata__", {})
    return {name: str(value) for name, value in metadata.items()} if isinstance(metadata, dict) else {}


def _read_header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"{path} is no safetensors file: its header would have {length} bytes")
        text = file.read(length)
    try:
        header = json.loads(text)
    except ValueError:
        raise ValueError(f"{path} is no safetensors file: its header cannot be read") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path} is no safetensors file: its header is no object")
    return header


def check_complete(path: Path) -> None:
    """Check that a file has all bytes that its header tells. Raises ValueError with the reason, or OSError."""
    shapes = _read_header(path)
    try:
        ends = [tensor["data_offsets"][1] for name, tensor in shapes.items() if name != "__metadata__"]
        with path.open("rb") as file:
            length = 8 + int.from_bytes(file.read(8), "little") + max(ends, default=0)
    except (KeyError, TypeError, IndexError):
        raise ValueError(f"{path} is no safetensors file: its header cannot be read") from None
    if (size := path.stat().st_size) < length:
        raise ValueError(f"{path} has {size} of {length} bytes: copy or download it again")


def count_numbers(path: Path) -> int:
    """How many numbers a file has. 0 if it cannot be read: loading it says why."""
    try:
        return sum(prod(shape) for shape in read_shapes(path).values())
    except (OSError, ValueError, TypeError):
        return 0


def check_folder(name: str) -> str:
    """Check that a name is that of a folder below a directory. Raises ValueError."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{name!r} must be a folder in models_dir")
    return name
