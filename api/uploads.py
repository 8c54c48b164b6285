"""Bodies that are being read: how many bytes of them may be in memory and on disk, and how many uploads at once.

Files of forms larger than a megabyte are written to the directory of `core/temporary_files.py`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager

from core.errors import UploadsFull
from core.limit_errors import TooManyUploads
from core.settings import Settings

JSON_BYTES = 256 * 2**20
"""Bytes of JSON bodies that are being read, all together. They are in memory."""

MAX_PAUSE_SECONDS = 0.005
"""Between two blocks of forms. A disk may be slow, which is no work for the event loop."""


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
        self._turn = asyncio.Lock()
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

    async def in_turn(self, blocks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The blocks of a form. Its reader has one at a time of all forms, and none for as long again afterwards.

        So that forms leave the event loop to other requests for half of the time. Close the generator if it is not
        read to its end.
        """
        async for block in blocks:
            async with self._turn:
                began = time.monotonic()
                yield block
                await asyncio.sleep(min(time.monotonic() - began, MAX_PAUSE_SECONDS))
