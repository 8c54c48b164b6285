"""Images of jobs: download and save."""

import builtins
import os
from pathlib import Path
from typing import BinaryIO

from safelight_client import models
from safelight_client.asynchronous.bound import AsyncBound
from safelight_client.asynchronous.transport import AsyncTransport
from safelight_client.downloads import Destination, Memory, NewFile
from safelight_client.errors import DownloadDamaged
from safelight_client.paths import path_of


class AsyncImage(AsyncBound, models.ImageObject):
    """An image of a job."""

    async def download(self) -> builtins.bytes:
        """The image file. Raises DownloadDamaged if its SHA-256 is wrong."""
        memory = Memory()
        await self._download(memory)
        return memory.content

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the image file under a name; returns the path. Raises DownloadDamaged, then nothing is saved."""
        with NewFile(path) as file:
            await self._download(file)
        return file.path

    async def download_into(self, file: BinaryIO) -> None:
        """Write the image file into an open file, from its start. Raises DownloadDamaged."""
        await self._download(Destination(file))

    async def _download(self, destination: Destination) -> None:
        await self._transport.download(f"{path_of('images', self.id)}/content", destination)
        if destination.sha256 != self.sha256:
            raise DownloadDamaged(self.id)


class AsyncImages:
    """The API's calls for images."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def retrieve(self, image_id: str) -> AsyncImage:
        """An image with its size, seed and receipt."""
        return await self._transport.fetch(AsyncImage, "GET", path_of("images", image_id))
