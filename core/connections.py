"""Connections to receivers of webhooks: one deadline for all of a request, a bound on what is read, and their reuse.

A connection leads to one address. Before each request, `core.egress` checks the addresses of the host, and uses an open
connection again only if it leads to one of them.
"""

import contextlib
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpcore

MAX_BODY_BYTES = 8192
"""Bytes of a response body that are read; then the connection is closed."""

MAX_RESPONSE_BYTES = 64 * 1024
"""Bytes of a response, headers included, after which the connection is closed."""

CONNECT_SECONDS = 5.0

IDLE_SECONDS = 4.0
"""How long a connection stays open without a request. Common servers close theirs after five seconds."""

MAX_IDLE = 256
MAX_IDLE_OF_HOST = 16

PROMPT_SECONDS = 1.0
"""A connection is used again only if the receiver answered within this time. A server that serves one connection at a
time, whatever waits on others, must not be blocked by one that is idle."""


class DeliveryError(Exception):
    """The delivery failed. `code` is for the delivery log, `message` for the owner."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Response:
    """A response of a receiver. The body has at most MAX_BODY_BYTES."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class StaleConnection(Exception):
    """The receiver had closed an idle connection before the request arrived."""


class Connection:
    """One HTTP/1.1 connection to one address."""

    def __init__(self, origin: httpcore.Origin, address: str, stream: "_Stream") -> None:
        self.origin = origin
        self.address = address
        self._stream = stream
        self._http = httpcore.HTTP11Connection(origin, stream, keepalive_expiry=IDLE_SECONDS)
        self._is_reused = False

    def send(self, request: httpcore.Request, deadline: float) -> Response:
        """Send a request and read the start of its response. Raises httpcore's errors, StaleConnection."""
        self._stream.begin(deadline)
        began = time.monotonic()
        try:
            response = self._http.handle_request(request)
        except (httpcore.NetworkError, httpcore.RemoteProtocolError):
            if self._is_reused and not self._stream.byte_count:
                raise StaleConnection from None
            raise
        self._is_reused = True
        body = _read_start(response)
        response.close()  # also closes the connection unless all of the response was read
        if time.monotonic() - began > PROMPT_SECONDS:
            self.close()
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return Response(response.status, headers, body)

    @property
    def is_usable(self) -> bool:
        """Whether another request can be sent: the receiver has neither closed it nor sent more than its response."""
        return self._http.is_idle() and not self._http.has_expired() and not self._has_trailing_data()

    def _has_trailing_data(self) -> bool:
        """Whether bytes after the response were received: they would be taken for the response to the next request.

        `has_expired` tells it of those that the socket still has. The others are in h11's buffer, which httpcore has
        no public name for, or in that of TLS.
        """
        socket = self._stream.get_extra_info("socket")
        has_decrypted_data = isinstance(socket, ssl.SSLSocket) and socket.pending() > 0
        return has_decrypted_data or bool(self._http._h11_state.trailing_data[0])

    def close(self) -> None:
        """Close it."""
        self._http.close()


def connect(
    origin: httpcore.Origin, host: str, addresses: Sequence[str], port: int, tls: ssl.SSLContext, deadline: float
) -> Connection:
    """Connect to the first address that accepts. Raises DeliveryError, httpcore.TimeoutException.

    tls: for the origin's host name, if its scheme is https.
    """
    backend = httpcore.SyncBackend()
    for address in addresses:
        with contextlib.suppress(httpcore.ConnectError):
            seconds = min(CONNECT_SECONDS, _remaining(deadline, httpcore.ConnectTimeout))
            stream: httpcore.NetworkStream = _Stream(backend.connect_tcp(address, port, timeout=seconds), deadline)
            break
    else:
        raise DeliveryError("connection_failed", "The receiver does not accept connections.")
    if origin.scheme == b"https":
        try:
            stream = stream.start_tls(tls, host)
        except BaseException:
            stream.close()
            raise
    return Connection(origin, address, stream)  # type: ignore[arg-type]  # start_tls of _Stream returns one


class IdleConnections:
    """Open connections without a request. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connections: list[Connection] = []  # the one used last at the end

    def take(self, origin: httpcore.Origin, addresses: Sequence[str]) -> Connection | None:
        """A usable connection of an origin that leads to one of some addresses."""
        with self._lock:
            for connection in reversed(self._connections):
                if connection.origin == origin and connection.address in addresses and connection.is_usable:
                    self._connections.remove(connection)
                    return connection
        return None

    def add(self, connection: Connection) -> None:
        """Store a connection after its request, or close it if there are too many that are usable."""
        if self._append(connection):
            return
        self.close_expired()
        if not self._append(connection):
            connection.close()

    def _append(self, connection: Connection) -> bool:
        """Store a connection if the limits allow it. Returns whether they do."""
        with self._lock:
            count = sum(other.origin == connection.origin for other in self._connections)
            if count >= MAX_IDLE_OF_HOST or len(self._connections) >= MAX_IDLE:
                return False
            self._connections.append(connection)
            return True

    def close_expired(self) -> None:
        """Close those that were idle for too long, or that the receiver has closed."""
        with self._lock:
            expired = [connection for connection in self._connections if not connection.is_usable]
            self._connections = [connection for connection in self._connections if connection not in expired]
        for connection in expired:
            connection.close()

    def close(self) -> None:
        """Close all."""
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()


class _Stream(httpcore.NetworkStream):
    """A connection with one deadline for all operations of a request, and a limit on the bytes that it receives."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self.begin(deadline)

    def begin(self, deadline: float) -> None:
        """Begin a request."""
        self._deadline = deadline
        self.byte_count = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self.byte_count > MAX_RESPONSE_BYTES:
            raise httpcore.ReadError("the response is too long")
        data = self._inner.read(
            min(max_bytes, MAX_BODY_BYTES), timeout=_remaining(self._deadline, httpcore.ReadTimeout)
        )
        self.byte_count += len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), 16384):
            self._inner.write(buffer[start : start + 16384], timeout=_remaining(self._deadline, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = _remaining(self._deadline, httpcore.ConnectTimeout)
        try:
            inner = self._inner.start_tls(ssl_context, server_hostname, timeout=seconds)
        except httpcore.ConnectError as error:
            raise _tls_failed(error.__cause__) from None
        return _Stream(inner, self._deadline)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


_CERTIFICATES = {
    10: ("certificate_expired", "The receiver's certificate has expired."),
    62: ("certificate_wrong_host", "The receiver's certificate is for another host."),
    64: ("certificate_wrong_host", "The receiver's certificate is for another address."),
}
"""Keys are the error numbers in openssl/x509_vfy.h."""


def _tls_failed(cause: BaseException | None) -> DeliveryError:
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return DeliveryError("tls_failed", "The TLS handshake with the receiver failed.")
    default = ("certificate_untrusted", "The receiver's certificate is not signed by a known authority.")
    return DeliveryError(*_CERTIFICATES.get(cause.verify_code, default))


def _remaining(deadline: float, timeout_error: type[httpcore.TimeoutException]) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise timeout_error("the time is up")
    return seconds


def _read_start(response: httpcore.Response) -> bytes:
    """The first bytes of a response body. The status is used even if the rest does not arrive."""
    body = b""
    with contextlib.suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        for chunk in response.iter_stream():
            body += chunk
            if len(body) >= MAX_BODY_BYTES:
                break
    return body[:MAX_BODY_BYTES]
