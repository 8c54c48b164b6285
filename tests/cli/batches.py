"""Files of prompts for tests, and the batches that were made of them."""

import csv
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.cli.terminal import Terminal
from tests.stack import Stack

BESIDE_IMAGES = ("manifest.csv", "errors.jsonl", "index.html")


class Prompts:
    """A file of prompts and the directory for its images, told apart from all other batches."""

    def __init__(self, terminal: Terminal, name: str, text: str) -> None:
        self.file = terminal.directory / name
        self.file.write_text(text)
        self.out = terminal.directory / "images"
        self.mark = uuid4().hex

    def command(self, *options: str) -> tuple[str, ...]:
        """The command that draws them."""
        return ("batch", str(self.file), "--out", str(self.out), "--metadata", f"mark={self.mark}", *options)

    def batches(self, safelight: Stack) -> list[dict[str, Any]]:
        """The batches that were made of them, the newest first."""
        batches = safelight.client.get("/v1/batches", params={"limit": 100}).json()["data"]
        return [batch for batch in batches if batch["metadata"].get("mark") == self.mark]

    def images(self) -> list[str]:
        """The images that are there; nothing unfinished lies beside them."""
        names = sorted(path.name for path in self.out.iterdir())
        assert not [name for name in names if name.endswith(".unfinished")]
        return [name for name in names if not name.startswith(".") and name not in BESIDE_IMAGES]

    def manifest(self) -> list[dict[str, str]]:
        with (self.out / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
            return list(csv.DictReader(file))


def csv_lines(count: int, first: str = "prompt,size") -> str:
    """A .csv file of prompts for the fake model."""
    return "\n".join([first, *(f"cat {number},64x64" for number in range(count))])


def fetched_images(requests: str) -> list[str]:
    """The images whose files were asked for, by what was sent over a wire."""
    words = (line.split() for line in requests.splitlines() if line.startswith("GET /v1/images/"))
    return [path for _, path, *_ in words if path.endswith("/content")]


def snapshot(directory: Path) -> dict[str, int]:
    """When each file of a directory was written."""
    return {path.name: path.stat().st_mtime_ns for path in directory.iterdir()}
