"""The files of the studio: read once at start, with a version that changes with any of them.

A path contains the version, so browsers keep a file for ever and a new release is loaded at once.
"""

import gzip
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

DIRECTORY = Path(__file__).parent / "assets"
PAGE = "index.html"

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
VERSION_LENGTH = 12


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the studio. gzip: its content, compressed."""

    media_type: str
    content: bytes
    gzip: bytes


class Assets:
    """All files of the studio, by path."""

    def __init__(self, directory: Path = DIRECTORY) -> None:
        self._directory = directory

    @cached_property
    def files(self) -> Mapping[str, Asset]:
        """The files that pages load."""
        return dict(self._read())

    @cached_property
    def page(self) -> str:
        """The HTML of the page, with a place for the address of its files."""
        return (self._directory / PAGE).read_text("utf-8")

    @cached_property
    def version(self) -> str:
        """A hash of all files."""
        content = hashlib.sha256(self.page.encode())
        for path, asset in sorted(self.files.items()):
            content.update(path.encode() + b"\0" + asset.content)
        return content.hexdigest()[:VERSION_LENGTH]

    def _read(self) -> Iterator[tuple[str, Asset]]:
        for path in self._directory.rglob("*"):
            if path.suffix in MEDIA_TYPES:
                content = path.read_bytes()
                name = path.relative_to(self._directory).as_posix()
                yield name, Asset(MEDIA_TYPES[path.suffix], content, gzip.compress(content, mtime=0))
