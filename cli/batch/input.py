"""The input of a batch: a .csv, .txt or .jsonl file, or standard input. The API parses it, not the command."""

import json
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from cli.errors import CommandError

Kind = Literal["csv", "txt", "jsonl"]
KINDS: tuple[Kind, ...] = get_args(Kind)

GENERATIONS = "/v1/images/generations"

STDIN = Path("-")


@dataclass(frozen=True, slots=True)
class BatchInput:
    """The content of a file of prompts."""

    name: str  # with the kind as extension, from which the API takes the format
    content: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return sha256(self.content).hexdigest()

    @property
    def endpoint(self) -> str | None:
        """The endpoint of the lines, from the first line of a .jsonl file; None for other formats."""
        if not self.name.endswith(".jsonl"):
            return None
        try:
            url = json.loads(self.content.lstrip().split(b"\n", 1)[0])["url"]
        except (ValueError, KeyError, TypeError):
            return GENERATIONS
        return url if isinstance(url, str) else GENERATIONS


def read_input(path: Path, kind: Kind | None) -> BatchInput:
    """Read a file, or standard input for `-`. Raises CommandError if it cannot be read or its format is unknown."""
    kind = kind or next((kind for kind in KINDS if path.suffix.lower() == f".{kind}"), None)
    name = "standard input" if path == STDIN else str(path)
    if kind is None:
        raise CommandError(f"The format of {name} is unknown: set it with --input-format {'|'.join(KINDS)}.")
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}).") from None
    if not content.strip():
        raise CommandError(f"There are no prompts in {name}.")
    return BatchInput(f"{'stdin' if path == STDIN else path.stem}.{kind}", content)
