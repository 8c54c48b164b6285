"""A TCP relay to an API that closes a connection where a test says so, and a server with fixed responses."""

import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from tests.waiting import PATIENCE

Cut = Callable[[bytes, bytes], bool]
"""Whether to close a connection, given its request and its answer so far, before the last part is passed on."""


class Wire:
    """Relays to a port of this machine. It cuts one connection, where `cut` says so for the first time."""

    def __init__(self, port: int, should_cut: Cut) -> None:
        self._port = port
        self._should_cut = should_cut
        self._has_cut = threading.Event()
        self._requests: list[bytearray] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def requests(self) -> str:
        """All requests to the API, connection after connection."""
        return b"".join(self._requests).decode()

    @property
    def has_cut(self) -> bool:
        return self._has_cut.is_set()

    def until_cut(self) -> None:
        """Wait for the cut: what it kills may have ended before it is noted here."""
        assert self._has_cut.wait(PATIENCE)

    def _listen(self) -> None:
        with suppress(OSError):  # closed: the test is over
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._requests.append(requests := bytearray())
                for relay in (self._relay_requests, self._relay_answers):
                    threading.Thread(target=relay, args=(client, server, requests), daemon=True).start()

    def _relay_requests(self, client: socket.socket, server: socket.socket, requests: bytearray) -> None:
        with suppress(OSError):
            while part := client.recv(65536):
                requests += part
                server.sendall(part)
            server.shutdown(socket.SHUT_WR)

    def _relay_answers(self, client: socket.socket, server: socket.socket, requests: bytearray) -> None:
        answered = b""
        with suppress(OSError), client, server:
            while part := server.recv(65536):
                answered += part
                if not self.has_cut and self._should_cut(bytes(requests), answered):
                    self._has_cut.set()
                    client.shutdown(socket.SHUT_RDWR)  # to close is not enough while the other thread reads from it
                    return
                client.sendall(part)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()


STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
ERROR_EVENT = b'event: error\ndata: {"error": {"message": "The API key was revoked."}}\n\n'
REVOKED = (
    b"HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n"
    b'{"error": {"message": "The API key was revoked.", "code": "invalid_api_key"}}'
)
BROKEN = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"
"""Responses for FixedServer: an event stream without events, its last event, and others."""


class FixedServer:
    """Sends each connection the next of some responses and closes it. After the last, connections are refused."""

    def __init__(self, responses: Sequence[bytes]) -> None:
        self._responses = responses
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.count = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError), self._listener:  # closed: the test is over
            for response in self._responses:
                connection, _ = self._listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(response)
                    self.count += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()
