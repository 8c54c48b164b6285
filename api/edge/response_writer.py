"""Writes the head of a response together with the first part of its body.

uvicorn writes them one after the other. Each write is a system call that also wakes the client, so a small response
would cost two of both.
"""

import asyncio

_INFORMATIONAL = b"HTTP/1.1 1"


class ResponseWriter(asyncio.Transport):
    """What one response is written to. A head that no body follows at once leaves at the next turn of the loop."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._has_begun = False
        self._head: bytes | bytearray | memoryview | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write a part of the response. The first part is the head."""
        if self._head is not None:
            head, self._head = self._head, None
            self._transport.writelines([head, data] if data else [head])
        elif self._has_begun or data[: len(_INFORMATIONAL)] == _INFORMATIONAL:
            self._transport.write(data)
        else:
            self._has_begun = True
            self._head = data
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write a head that waits for its body."""
        if self._head is not None:
            head, self._head = self._head, None
            if not self._transport.is_closing():
                self._transport.write(head)

    def is_closing(self) -> bool:
        """Whether the connection is closed, or about to be."""
        return self._transport.is_closing()

    def close(self) -> None:
        """Write what waits, and close the connection."""
        self.flush()
        self._transport.close()
