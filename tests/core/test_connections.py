"""Connections to receivers that are used again: what is left on them, and how many there may be."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from typing import Self

import httpcore
import pytest

from core.connections import MAX_BODY_BYTES, MAX_IDLE_OF_HOST, Connection, IdleConnections, connect
from core.egress import Egress, EgressRules
from tests.receiver import CERTIFICATE
from tests.waiting import PATIENCE

BODY = b"{}"
LOCAL = EgressRules.parse("127.0.0.1")


@pytest.fixture
def idle() -> Iterator[IdleConnections]:
    connections = IdleConnections()
    yield connections
    connections.close()


class RawServer:
    """Accepts connections, and answers each request with the same bytes; TLS if it has a context."""

    def __init__(self, response: bytes, tls: ssl.SSLContext | None = None) -> None:
        self.connections: list[socket.socket] = []
        self._response = response
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                self.connections.append(connection)
                threading.Thread(target=self._answer, args=[connection], daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(65536):
                if data.endswith(BODY):  # the headers may come before
                    connection.sendall(self._response)

    def close_connections(self) -> None:
        """Close the open connections. New ones are accepted."""
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.close_connections()


ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.mark.parametrize("filler", [0, MAX_BODY_BYTES - len(ANSWER)], ids=["in one read", "in one TLS record"])
def test_bytes_after_a_response_are_not_the_answer_to_the_next_delivery(filler: int, idle: IdleConnections) -> None:
    """The second answer, which nothing has asked for, begins at or within what one read of 8 KiB returns."""
    head = ANSWER.replace(b"\r\n\r\n", b"\r\nx-filler: %s\r\n\r\n" % (b"x" * (filler - 12))) if filler else ANSWER
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    with RawServer(head + b"HTTP/1.1 500 Not yours\r\ncontent-length: 0\r\n\r\n", context) as server:
        trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
        egress = Egress(LOCAL, resolve=lambda _host, _port: ["127.0.0.1"], tls=trusting, idle=idle)
        url = f"https://receiver.test:{server.port}/"

        assert [egress.post(url, BODY, {}, 10).status for _ in range(2)] == [200, 200]
        assert len(server.connections) == 2


def test_connections_that_a_receiver_has_closed_take_no_place(idle: IdleConnections) -> None:
    with RawServer(ANSWER) as server:
        origin = httpcore.URL(f"http://127.0.0.1:{server.port}/").origin
        headers = [("host", "127.0.0.1"), ("content-length", str(len(BODY)))]
        request = httpcore.Request("POST", f"http://127.0.0.1:{server.port}/", headers=headers, content=BODY)

        def exchange() -> Connection:
            tls = ssl.create_default_context()
            while True:
                deadline = time.monotonic() + PATIENCE
                connection = connect(origin, "127.0.0.1", ["127.0.0.1"], server.port, tls, deadline)
                assert connection.send(request, deadline).status == 200
                if connection.is_usable:  # one whose response took longer than PROMPT_SECONDS is closed
                    return connection

        for _ in range(MAX_IDLE_OF_HOST):
            idle.add(exchange())
        idle.add(surplus := exchange())
        assert not surplus.is_usable, "there are too many"
        server.close_connections()

        idle.add(connection := exchange())
        assert idle.take(origin, ["127.0.0.1"]) is connection
        connection.close()
