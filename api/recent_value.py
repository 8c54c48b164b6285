"""A value of the database that many requests use: read once for all of them, and again while it is used."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import inf
from typing import Generic, TypeVar

ValueT = TypeVar("ValueT")


class RecentValue(Generic[ValueT]):
    """A value that is `max_age` seconds old at most.

    From half of that age on, a request starts to read it again, and gets the value that is there: so that busy
    processes never wait for it.
    """

    def __init__(self, read: Callable[[], Awaitable[ValueT]], max_age: float) -> None:
        self._read = read
        self._max_age = max_age
        self._value: ValueT | None = None
        self._read_at = -inf
        self._reader: asyncio.Task[ValueT] | None = None

    async def get(self) -> ValueT:
        """The value. Raises what reading it raises."""
        age = time.monotonic() - self._read_at
        if age > self._max_age / 2:
            reader = self._start_reading()
            if age > self._max_age:
                return await asyncio.shield(reader)  # a client that disconnects must not stop it for the others
        return self._value  # type: ignore[return-value]  # it has been read

    def _start_reading(self) -> asyncio.Task[ValueT]:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read_again())
            self._reader.add_done_callback(self._end_reading)
        return self._reader

    async def _read_again(self) -> ValueT:
        read_at = time.monotonic()
        value = await self._read()
        self._value, self._read_at = value, read_at
        return value

    def _end_reading(self, reader: asyncio.Task[ValueT]) -> None:
        self._reader = None
        if not reader.cancelled():
            reader.exception()  # raised by those that wait for it; nobody does while the value is recent
