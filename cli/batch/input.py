"""The prompts that a batch is made of: a .csv, .txt or .jsonl file, or standard input. What they say the API reads."""

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
    """A file of prompts, as it was when the command began."""

    name: str  # ends in its kind: the API goes by that
    content: bytes

    @property
    def sha256(self) -> str:
        """Of the content."""
        return sha256(self.content).hexdigest()

    @property
    def endpoint(self) -> str | None:
        """Which call the lines are; only those of a .jsonl file say, and its first line speaks for all."""
        if not self.name.endswith(".jsonl"):
            return None
        try:
            url = json.loads(self.content.lstrip().split(b"\n", 1)[0])["url"]
        except (ValueError, KeyError, TypeError):
            return GENERATIONS
        return url if isinstance(url, str) else GENERATIONS


def read_input(path: Path, kind: Kind | None) -> BatchInput:
    """Read a file, or standard input for `-`. Raises CommandError if it cannot be read, or its kind is not known."""
    meant = kind or next((known for known in KINDS if path.suffix.lower() == f".{known}"), None)
    if meant is None:
        what = "standard input has no name" if path == STDIN else f"{path} ends in none of .csv, .txt, .jsonl"
        raise CommandError(f"{what[0].upper()}{what[1:]}: say what it is with --input-format {'|'.join(KINDS)}.")
    try:
        content = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path} cannot be read ({error.strerror}).") from None
    if not content.strip():
        raise CommandError(f"There is nothing in {'standard input' if path == STDIN else path}.")
    return BatchInput(f"{'stdin' if path == STDIN else path.stem}.{meant}", content)
