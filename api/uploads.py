"""Bodies that are being read: how many bytes of them may be in memory and on disk, and how many uploads at once.

Files of forms larger than a megabyte are written to data_dir/uploads, not to /tmp, which is often memory. Their files
have no name (O_TMPFILE), so nothing is left of an upload that breaks off, or of a process that is killed.
"""

import logging
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.errors import UploadsFull
from core.limit_errors import TooManyUploads
from core.settings import Settings

log = logging.getLogger(__name__)

JSON_BYTES = 256 * 2**20
"""Bytes of JSON bodies that are being read, all together. They are in memory."""

STALE_SECONDS = 3600.0
"""Age from which a file that has a name is left over: on a file system without O_TMPFILE, after a kill."""


class Reservation:
    """The bytes of one body within a budget."""

    def __init__(self, budget: "Budget") -> None:
        self._budget = budget
        self.size = 0

    def add(self, size: int) -> None:
        """Count a part that has arrived. Raises UploadsFull."""
        if self._budget.size + size > self._budget.limit:
            raise UploadsFull
        self._budget.size += size
        self.size += size


class Budget:
    """A number of bytes that several bodies share."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0

    @contextmanager
    def reserve(self) -> Iterator[Reservation]:
        """The bytes of one body, until the end of the context."""
        reservation = Reservation(self)
        try:
            yield reservation
        finally:
            self.size -= reservation.size


class Uploads:
    """The bodies that this process reads."""

    def __init__(self, settings: Settings) -> None:
        self._limit = settings.max_uploads
        self._project_limit = settings.max_project_uploads
        self._counts: Counter[str] = Counter()
        self._bytes = Budget(settings.max_upload_bytes)
        self.json = Budget(JSON_BYTES)

    @contextmanager
    def begin(self, project_id: str) -> Iterator[Reservation]:
        """A form of a project, until the end of the context. Raises TooManyUploads."""
        if self._counts[project_id] >= self._project_limit or self._counts.total() >= self._limit:
            raise TooManyUploads(
                f"At most {self._project_limit} forms of a project, and {self._limit} in total, are read at once; "
                "nothing was stored, try again."
            )
        self._counts[project_id] += 1
        try:
            with self._bytes.reserve() as reservation:
                yield reservation
        finally:
            self._counts[project_id] -= 1
            if not self._counts[project_id]:
                del self._counts[project_id]


def use_directory(data_dir: Path) -> None:
    """Let this process write its temporary files under data_dir, and delete what is left there."""
    directory = data_dir / "uploads"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        log.warning("uploads go to %s: %s cannot be written (%s)", tempfile.gettempdir(), directory, error.strerror)
        return
    for path in directory.iterdir():
        with suppress(OSError):  # another process may delete it too
            if path.is_file() and time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
    tempfile.tempdir = str(directory.absolute())
