"""Writes downloads: into memory or into a file that gets its name when it is complete."""

import os
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from uuid import uuid4


class Destination:
    """Where a download goes. A failed download starts again from the beginning."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = sha256()

    @property
    def sha256(self) -> str:
        """SHA-256 of what was written, in hexadecimal."""
        return self._hash.hexdigest()

    def restart(self) -> None:
        """Discard what was written."""
        self._file.seek(0)
        self._file.truncate()
        self._hash = sha256()

    def write(self, chunk: bytes) -> None:
        """Write the next bytes."""
        self._file.write(chunk)
        self._hash.update(chunk)


class Memory(Destination):
    """A download into memory."""

    def __init__(self) -> None:
        self._buffer = BytesIO()
        super().__init__(self._buffer)

    @property
    def content(self) -> bytes:
        """What was written."""
        return self._buffer.getvalue()


class NewFile(Destination):
    """A download into a file, which gets its name, and replaces an older one, when the block ends without an error."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._temporary = self.path.with_name(f".{self.path.name}.{uuid4().hex}.unfinished")
        self._open_file = self._temporary.open("w+b")
        super().__init__(self._open_file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open_file.close()
        if kind is None:
            self._temporary.replace(self.path)
        else:
            self._temporary.unlink(missing_ok=True)
