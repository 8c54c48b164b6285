"""Files of weights in the safetensors format, read without torch: how many numbers they have.

A file begins with the length of its header, 8 bytes, and the header, a JSON object with the shape of each tensor
(https://github.com/huggingface/safetensors#format).
"""

import json
from math import prod
from pathlib import Path

MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""


def count_numbers(path: Path) -> int:
    """How many numbers a file has. 0 if it cannot be read: loading it says why."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, MAX_HEADER_BYTES)))
        return sum(prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return 0
