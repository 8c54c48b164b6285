# Made of asynchronous/images.py by `python clients/generate.py`: do not edit.
"""Images of jobs: download and save."""

import builtins
import os
from pathlib import Path
from typing import BinaryIO

from safelight_client import models
from safelight_client.downloads import Destination, Memory, NewFile
from safelight_client.errors import DownloadDamaged
from safelight_client.paths import path_of
from safelight_client.synchronous.bound import Bound
from safelight_client.synchronous.transport import Transport


class Image(Bound, models.ImageObject):
    """An image of a job."""

    def download(self) -> builtins.bytes:
        """The image file. Raises DownloadDamaged if its SHA-256 is wrong."""
        memory = Memory()
        self._download(memory)
        return memory.content

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the image file under a name; returns the path. Raises DownloadDamaged, then nothing is saved."""
        with NewFile(path) as file:
            self._download(file)
        return file.path

    def download_into(self, file: BinaryIO) -> None:
        """Write the image file into an open file, from its start. Raises DownloadDamaged."""
        self._download(Destination(file))

    def _download(self, destination: Destination) -> None:
        self._transport.download(f"{path_of('images', self.id)}/content", destination)
        if destination.sha256 != self.sha256:
            raise DownloadDamaged(self.id)


class Images:
    """The API's calls for images."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def retrieve(self, image_id: str) -> Image:
        """An image with its size, seed and receipt."""
        return self._transport.fetch(Image, "GET", path_of("images", image_id))
