"""The input of a batch: a file of prompts or standard input. The API recognises its format and reads it."""

import codecs
import json
import re
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal, get_args

from cli.errors import CommandError

Kind = Literal["csv", "tsv", "xlsx", "txt", "jsonl"]
KINDS: tuple[Kind, ...] = get_args(Kind)

GENERATIONS = "/v1/images/generations"

STDIN = Path("-")

HEAD_BYTES = 2**20
"""Bytes in which the first line of JSONL names its endpoint."""

_KIND_OF: dict[str, Kind] = {f".{kind}": kind for kind in KINDS} | {
    ".ndjson": "jsonl", ".xlsm": "xlsx", ".tab": "tsv", ".text": "txt"
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class BatchInput:
    """The content of a file of prompts."""

    name: str  # with the kind as extension, which counts where the content may have several formats
    content: bytes

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, in hexadecimal."""
        return sha256(self.content).hexdigest()

    @property
    def endpoint(self) -> str | None:
        """The endpoint of the lines, from the first line of JSONL; None for other formats."""
        head = self.content[:HEAD_BYTES]
        encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
        text = head.decode(encoding, errors="replace").lstrip()
        if not re.match(r'\{\s*["}]', text):
            return GENERATIONS if self.name.endswith(".jsonl") else None
        try:
            url = json.loads(text.split("\n", 1)[0])["url"]
        except (ValueError, KeyError, TypeError):  # such as a line with an image, which is longer
            match = re.search(r'"url"\s*:\s*"(/v1/[a-z/]+)"', text)
            return GENERATIONS if match is None else match[1]
        return url if isinstance(url, str) else GENERATIONS


def read_input(path: Path, kind: Kind | None) -> BatchInput:
    """Read a file, or standard input for `-`. Raises CommandError if it cannot be read or its format is unknown.

    Standard input is a text with one prompt per line, if its content is no other format.
    """
    kind = kind or ("txt" if path == STDIN else _KIND_OF.get(path.suffix.lower()))
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
