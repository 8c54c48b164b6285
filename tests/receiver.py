"""A webhook receiver for tests: a real server on 127.0.0.1 that records requests and answers as a test says."""

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from tests.waiting import PATIENCE

CERTIFICATE = Path(__file__).parent / "receiver.pem"
"""Of receiver.test, signed by itself; its key is no secret."""

EXPIRED = CERTIFICATE.with_name("receiver_expired.pem")
"""The same, valid in 2020 only."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes


Behaviour = Callable[[BaseHTTPRequestHandler, Received], None]


def answering(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"ok") -> Behaviour:
    """Answers with a status, at once."""

    def behave(handler: BaseHTTPRequestHandler, _request: Received) -> None:
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def hang(handler: BaseHTTPRequestHandler, _request: Received) -> None:
    """Never answers: waits until the sender closes the connection."""
    handler.connection.settimeout(PATIENCE)
    handler.connection.recv(1)


class Receiver:
    """Listens until it is closed; `received` holds every request in the order of arrival."""

    def __init__(
        self,
        behave: Behaviour | None = None,
        *,
        tls: Path | bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        keep_alive: bool = False,
    ) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        self.behave = behave or answering(200)
        self.closing = threading.Event()
        self._sockets: list[socket.socket] = []
        self._news = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Received(self.path, headers, body)
                with receiver._news:
                    receiver.requests.append(request)
                    receiver._news.notify_all()
                self.close_connection = not keep_alive or self.close_connection
                receiver.behave(self, request)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def process_request(self, request: Any, client_address: Any) -> None:
                receiver.connections += 1
                receiver._sockets.append(request)
                super().process_request(request, client_address)

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # senders that break off are what is tested

        self._server = Server((host, port), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE if tls is True else tls)
            context.sni_callback = lambda _socket, name, _context: self.names.append(name)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.names: list[str | None] = []
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def url(self, path: str = "/hook", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def until(self, count: int) -> list[Received]:
        """Wait until so many requests have come."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.requests) >= count, PATIENCE), (
                f"{len(self.requests)} of {count} came"
            )
            return list(self.requests)

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE)
        for connection in self._sockets:  # a request that hangs ends here
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
