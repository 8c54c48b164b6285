"""Receivers of webhooks in a process of their own: one that answers and records the arrivals, one that never answers.

    python -m bench.receivers 9001 9002    # ports: of the one that answers, of the one that hangs

`GET /arrivals` on the first returns what has arrived since the last request, as `[webhook-id, Unix seconds]`;
`GET /release` closes all hanging connections.
"""

import asyncio
import json
import re
import sys
import time
from typing import cast

import uvloop

_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)
_ID = re.compile(rb"webhook-id: (\S+)", re.IGNORECASE)


class Answering(asyncio.Protocol):
    """Reads requests, one after the other, records when each was complete, and answers 204."""

    def __init__(self, arrivals: list[tuple[str, float]], hanging: set[asyncio.Transport]) -> None:
        self._arrivals = arrivals
        self._hanging = hanging
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class is none of asyncio's

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head_ends = self._buffer.find(b"\r\n\r\n")
        if head_ends < 0:
            return
        if self._buffer.startswith(b"GET"):
            path = self._buffer.split(b" ", 2)[1]
            self._buffer = b""
            self._answer(b"200 OK", self._arrivals_answer(path))
            return
        length, event = _LENGTH.search(self._buffer, 0, head_ends), _ID.search(self._buffer, 0, head_ends)
        if length is not None and len(self._buffer) >= head_ends + 4 + int(length[1]):
            self._buffer = self._buffer[head_ends + 4 + int(length[1]) :]
            self._arrivals.append((event[1].decode() if event else "", time.time()))
            self._answer(b"204 No Content", b"")

    def _arrivals_answer(self, path: bytes) -> bytes:
        if path == b"/release":
            for connection in list(self._hanging):
                connection.abort()
            return b"{}"
        arrivals = json.dumps(self._arrivals).encode()
        self._arrivals.clear()
        return arrivals

    def _answer(self, status: bytes, content: bytes) -> None:
        head = b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n" % (status, len(content))
        self._transport.write(head + content)


class Hanging(asyncio.Protocol):
    """Accepts connections, reads what arrives, and never answers."""

    def __init__(self, connections: set[asyncio.Transport]) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self._transport)

    def connection_lost(self, _error: Exception | None) -> None:
        self._connections.discard(self._transport)


async def serve(answering: int, hanging: int) -> None:
    """Listen until the process ends."""
    loop = asyncio.get_running_loop()
    arrivals: list[tuple[str, float]] = []
    connections: set[asyncio.Transport] = set()
    await loop.create_server(lambda: Hanging(connections), "127.0.0.1", hanging, backlog=1024)
    server = await loop.create_server(lambda: Answering(arrivals, connections), "127.0.0.1", answering, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(*map(int, sys.argv[1:])))
