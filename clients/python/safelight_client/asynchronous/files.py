"""Files: upload, list, download, delete."""

import builtins
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from safelight_client import models
from safelight_client.asynchronous.bound import AsyncBound
from safelight_client.asynchronous.transport import AsyncTransport
from safelight_client.downloads import Memory, NewFile
from safelight_client.paths import path_of
from safelight_client.uploads import UPLOAD_SECONDS, Content, read_content

Purpose = Literal["vision", "batch", "user_data", "fine-tune"]


class AsyncFile(AsyncBound, models.FileObject):
    """A file that was uploaded or that a batch has written."""

    async def download(self) -> builtins.bytes:
        """The content of the file."""
        return await AsyncFiles(self._transport).content(self.id)

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the content of the file under a name; returns the path."""
        with NewFile(path) as file:
            await self._transport.download(f"{path_of('files', self.id)}/content", file)
        return file.path

    async def delete(self) -> models.Deleted:
        """Delete the file."""
        return await AsyncFiles(self._transport).delete(self.id)


class AsyncFiles:
    """The API's calls for files."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def upload(
        self,
        file: Content,
        *,
        purpose: Purpose | str = "vision",
        filename: str | None = None,
        expires_after: int | None = None,
    ) -> AsyncFile:
        """Upload a file.

        file: its path, or its bytes. purpose: `vision` for input images of jobs, `batch` for prompts. expires_after:
        seconds, from an hour to 30 days; default: as long as the API says. A repetition after a lost connection may
        upload the file twice.
        """
        name, content = read_content(file, filename)
        fields = {"purpose": purpose}
        if expires_after is not None:
            fields |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(expires_after)}
        return await self._transport.fetch(
            AsyncFile, "POST", "/v1/files", data=fields, files={"file": (name, content)}, timeout=UPLOAD_SECONDS
        )

    async def retrieve(self, file_id: str) -> AsyncFile:
        """A file: its name, size, purpose and end. Raises NotFound."""
        return await self._transport.fetch(AsyncFile, "GET", path_of("files", file_id))

    async def list(
        self, *, purpose: Purpose | str | None = None, after: str | None = None, limit: int | None = None
    ) -> AsyncIterator[AsyncFile]:
        """All files, newest first, page by page. after: the id of the file before the first one."""
        async for file in self._transport.list_items(
            AsyncFile, "/v1/files", {"purpose": purpose, "after": after}, limit
        ):
            yield file

    async def content(self, file_id: str) -> builtins.bytes:
        """The content of a file."""
        memory = Memory()
        await self._transport.download(f"{path_of('files', file_id)}/content", memory)
        return memory.content

    async def delete(self, file_id: str) -> models.Deleted:
        """Delete a file."""
        return await self._transport.fetch(models.Deleted, "DELETE", path_of("files", file_id))
