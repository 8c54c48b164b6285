# Made of asynchronous/files.py by `python clients/generate.py`: do not edit.
"""Files: upload, list, download, delete."""

import builtins
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from safelight_client import models
from safelight_client.downloads import Memory, NewFile
from safelight_client.paths import path_of
from safelight_client.synchronous.bound import Bound
from safelight_client.synchronous.transport import Transport
from safelight_client.uploads import UPLOAD_SECONDS, Content, read_content

Purpose = Literal["vision", "batch", "user_data", "fine-tune"]


class File(Bound, models.FileObject):
    """A file that was uploaded or that a batch has written."""

    def download(self) -> builtins.bytes:
        """The content of the file."""
        return Files(self._transport).content(self.id)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save the content of the file under a name; returns the path."""
        with NewFile(path) as file:
            self._transport.download(f"{path_of('files', self.id)}/content", file)
        return file.path

    def delete(self) -> models.Deleted:
        """Delete the file."""
        return Files(self._transport).delete(self.id)


class Files:
    """The API's calls for files."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def upload(
        self,
        file: Content,
        *,
        purpose: Purpose | str = "vision",
        filename: str | None = None,
        expires_after: int | None = None,
    ) -> File:
        """Upload a file.

        file: its path, or its bytes. purpose: `vision` for input images of jobs, `batch` for prompts. expires_after:
        seconds, from an hour to 30 days; default: as long as the API says. A repetition after a lost connection may
        upload the file twice.
        """
        name, content = read_content(file, filename)
        fields = {"purpose": purpose}
        if expires_after is not None:
            fields |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": str(expires_after)}
        return self._transport.fetch(
            File, "POST", "/v1/files", data=fields, files={"file": (name, content)}, timeout=UPLOAD_SECONDS
        )

    def retrieve(self, file_id: str) -> File:
        """A file: its name, size, purpose and end. Raises NotFound."""
        return self._transport.fetch(File, "GET", path_of("files", file_id))

    def list(
        self, *, purpose: Purpose | str | None = None, after: str | None = None, limit: int | None = None
    ) -> Iterator[File]:
        """All files, newest first, page by page. after: the id of the file before the first one."""
        for file in self._transport.list_items(File, "/v1/files", {"purpose": purpose, "after": after}, limit):
            yield file

    def content(self, file_id: str) -> builtins.bytes:
        """The content of a file."""
        memory = Memory()
        self._transport.download(f"{path_of('files', file_id)}/content", memory)
        return memory.content

    def delete(self, file_id: str) -> models.Deleted:
        """Delete a file."""
        return self._transport.fetch(models.Deleted, "DELETE", path_of("files", file_id))
