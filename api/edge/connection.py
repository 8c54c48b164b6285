"""One client's connection: uvicorn's protocol with bounds for what a client sends, how slowly, and how slowly it reads.

uvicorn with httptools has no limit for headers and no deadline before a request is complete. The parser also accepts
requests that a proxy in front may read differently; these are refused (request smuggling).
"""

import asyncio
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Self

import httptools
from starlette.datastructures import Headers
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from api.edge.connections import Connections
from api.edge.cors import Cors
from api.edge.refusals import refusals
from api.edge.response_writer import ResponseWriter
from api.errors import body_of
from core.errors import (
    HeadersTooLarge,
    MalformedRequest,
    RequestTooSlow,
    SafelightError,
    TooManyConnections,
)
from core.settings import Settings

LINGER_SECONDS = 2.0
"""How long a refused client may still send: if the socket were closed at once, it would not read the response."""

REST_SECONDS = 10.0
"""How long the rest of a body may arrive after the response."""

MAX_PIPELINED = 4
"""Requests that a client may send before it has the response to the first."""

PARSER_HEADERS = frozenset({b"host", b"content-length", b"transfer-encoding"})
"""Headers that say where a request goes and where it ends: at most once."""


UPGRADE_HEADERS = frozenset({b"connection", b"upgrade", b"http2-settings"})


class Phase(Enum):
    """What the connection waits for."""

    HEAD = auto()
    BODY = auto()
    REQUEST_COMPLETE = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may send and how slow it may be. Times in seconds, the rate in bytes per second."""

    header_bytes: int
    headers: int
    header_timeout: float
    body_timeout: float
    write_timeout: float
    rate: int

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits in the settings."""
        return cls(
            settings.max_header_bytes,
            settings.max_headers,
            settings.header_timeout.total_seconds(),
            settings.body_timeout.total_seconds(),
            settings.write_timeout.total_seconds(),
            settings.min_rate,
        )


class EdgeConfig(Config):
    """uvicorn's configuration, with the limits that all connections share."""

    limits: Limits
    open_connections: Connections
    open_paths: frozenset[bytes] = frozenset()
    """Paths that are answered even if there is no room: `access.OPEN_PATHS`, also under the path prefix."""
    cors: Cors | None = None


class Connection(HttpToolsProtocol):
    """A connection with bounds. `Connections` calls `check` every second."""

    def __init__(
        self,
        config: EdgeConfig,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._open_connections = config.open_connections
        self._open_paths = config.open_paths
        self._cors = config.cors
        self._phase = Phase.HEAD
        self.since = self.loop.time()
        self._running: RequestResponseCycle | None = None
        self._writer: ResponseWriter | None = None
        self._header_bytes = 0
        self._unparsed_bytes = 0  # received since the last part of a request that was complete
        self._body_bytes = 0
        self._rest_since: float | None = None
        self._write_since: float | None = None
        self._write_bytes = 0

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept a client, if there is room."""
        super().connection_made(transport)
        client_socket: socket.socket | None = transport.get_extra_info("socket")
        if client_socket is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            # Also for what waits in the kernel's buffer, which `check` cannot see.
            milliseconds = round(self._limits.write_timeout * 1000)
            client_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        self._open_connections.add(self, self.since)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client or this process has closed the connection."""
        self._open_connections.remove(self)
        self._disconnect()
        super().connection_lost(exc)

    @property
    def _is_answering(self) -> bool:
        """Whether a request runs whose response is not complete."""
        return self._running is not None and not self._running.response_complete

    def _disconnect(self) -> None:
        """Tell the application that the client is gone. uvicorn tells the last request only, not the one that runs."""
        self.pipeline.clear()
        if self._is_answering and self._running is not None:
            self._running.disconnected = True
            self._running.message_event.set()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        self._writer = ResponseWriter(self.transport, self.loop)
        cycle.transport = self._writer
        super()._start_asgi_task(cycle, app)

    def drop(self) -> None:
        """End the connection at once."""
        self._open_connections.remove(self)
        self.connections.discard(self)
        self.transport.abort()

    # What the client sends

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived. It may be a part of a request, or several requests."""
        if self._phase is Phase.REFUSED:
            return
        if self._phase is Phase.REQUEST_COMPLETE and self.cycle.response_complete:
            self._phase, self.since = Phase.HEAD, self.loop.time()
        self._unset_keepalive_if_required()
        self._unparsed_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            reason = error.__context__
            self._refuse(reason if isinstance(reason, SafelightError) else MalformedRequest())
        except httptools.HttpParserError:
            self._refuse(MalformedRequest())
        except httptools.HttpParserUpgrade as error:
            self._ignore_upgrade(data[error.args[0] :])
        else:
            if self._unparsed_bytes > self._limits.header_bytes:
                self._refuse(self._headers_too_large())

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        if self._phase is not Phase.HEAD:
            self._phase, self.since = Phase.HEAD, self.loop.time()
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer after a body in chunks: trailers are not used."""
        self._count(len(name) + len(value) + 4)
        if self._phase is Phase.HEAD:
            if len(self.headers) >= self._limits.headers:
                raise self._headers_too_large()
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """All headers are here: the application starts, and the body follows."""
        self._check_head()
        if self.parser.should_upgrade():  # see `_ignore_upgrade`
            return
        self._phase, self.since = Phase.BODY, self.loop.time()
        self._unparsed_bytes = self._body_bytes = 0
        self._rest_since = None
        self._open_connections.begin_request(self)
        super().on_headers_complete()
        if self._open_connections.is_full:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._unparsed_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of the request."""
        if self.parser.should_upgrade():
            return
        self._phase = Phase.REQUEST_COMPLETE
        self._unparsed_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The end of the response."""
        if self._writer is not None:
            self._writer.flush()  # before a refusal can be written
        super().on_response_complete()
        if self._phase is Phase.REQUEST_COMPLETE and not self.pipeline:
            self._open_connections.end_request(self)

    def _ignore_upgrade(self, rest: bytes) -> None:
        """Read a request that offers another protocol (`Upgrade: h2c`) as if it did not.

        rest: what follows its headers. The parser stops after such headers, whatever length they say, and would take
        the body for the next request.
        """
        lines = [b"%s %s HTTP/1.1" % (self.parser.get_method(), self.url)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] not in UPGRADE_HEADERS]
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.header_bytes:
            raise self._headers_too_large()

    def _headers_too_large(self) -> HeadersTooLarge:
        limits = self._limits
        return HeadersTooLarge(
            f"A request's URL and headers may have {limits.header_bytes} bytes together, and {limits.headers} headers."
        )

    def _check_head(self) -> None:
        """Raises MalformedRequest for a request whose target or end is not the same for every reader."""
        values: dict[bytes, bytes] = {}
        for name, value in self.headers:
            if name in PARSER_HEADERS:
                if name in values:
                    raise MalformedRequest(f"The header {name.decode()} is there twice.")
                values[name] = value
        version = self.parser.get_http_version()
        is_current = version == "1.1"
        if not is_current and version != "1.0":
            raise MalformedRequest("The version of HTTP must be 1.1 or 1.0.")
        if is_current and b"host" not in values:
            raise MalformedRequest("The header host is missing.")
        if not self.url.startswith(b"/"):
            raise MalformedRequest("The target of a request must be a path.")
        encoding = values.get(b"transfer-encoding")
        if encoding is not None and (encoding.lower() != b"chunked" or b"content-length" in values or not is_current):
            raise MalformedRequest("The header transfer-encoding must be `chunked`, without content-length.")
        if len(self.pipeline) >= MAX_PIPELINED:
            raise MalformedRequest("There are too many requests before the response to the first.")
        if not self._open_connections.make_room(self) and self.url not in self._open_paths:
            raise TooManyConnections

    # Deadlines

    def check(self, now: float) -> None:
        """End the connection if its client has been too slow. now: the loop's time."""
        self._check_writing(now)
        if self.transport.is_closing():
            return
        if self._phase is Phase.REFUSED:
            if now - self.since > LINGER_SECONDS and not self._is_answering:
                self.transport.abort()
        elif self.flow.read_paused:  # the application is slow, not the client
            self.since, self._body_bytes = now, 0
        elif self._phase is Phase.HEAD:
            if now - self.since > self._limits.header_timeout:
                self._end_head()
        elif self._phase is Phase.BODY:
            self._check_body(now)

    def _end_head(self) -> None:
        if self._unparsed_bytes:
            self._refuse(RequestTooSlow(f"The headers must arrive within {self._limits.header_timeout:g} seconds."))
        else:
            self.transport.close()

    def _check_body(self, now: float) -> None:
        if self.cycle.response_complete:
            self._rest_since = self._rest_since or now
            if now - self._rest_since > REST_SECONDS:
                self.transport.abort()
        elif now - self.since >= self._limits.body_timeout:
            if self._body_bytes < self._limits.rate * self._limits.body_timeout:
                self._refuse(RequestTooSlow(f"A body must arrive at {self._limits.rate} bytes per second or faster."))
            self.since, self._body_bytes = now, 0

    def _check_writing(self, now: float) -> None:
        """End the connection if its client does not read: what it was sent must become less, at the minimum rate."""
        size = self.transport.get_write_buffer_size()
        if not size:
            self._write_since = None
        elif self._write_since is None:
            self._write_since, self._write_bytes = now, size
        elif now - self._write_since >= self._limits.write_timeout:
            if size > self._write_bytes - self._limits.rate * self._limits.write_timeout:
                refusals.record("response_not_read", "%s does not read its response", self.client)
                self.transport.abort()
            self._write_since, self._write_bytes = now, size

    def resume_writing(self) -> None:
        """The client has read most of what it was sent."""
        self._write_since = None
        super().resume_writing()

    # Refusals

    def _refuse(self, error: SafelightError) -> None:
        """Respond with an error, if it is this request's turn, and read no more."""
        refusals.record(error.code, "%s: %s", self.client, error.message)
        self._open_connections.begin_request(self)  # it waits for nothing, so it makes no room
        is_running = self._phase is Phase.BODY and self._running is self.cycle
        self._phase, self.since = Phase.REFUSED, self.loop.time()
        self.pipeline.clear()
        if self._is_answering and self._running is not None:
            if not is_running:  # an earlier request runs: its response is the last on this connection
                self._running.keep_alive = False
                return
            self._disconnect()
            if self._running.response_started:
                self.transport.abort()
                return
        self.transport.write(_response(error, self._cors_headers()))
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _cors_headers(self) -> dict[str, str]:
        """Headers with which a page of another origin may read a refusal, if its `Origin` has arrived."""
        origin = Headers(raw=self.headers or []).get("origin")
        return {} if self._cors is None or origin is None else self._cors.headers_for(origin)


def _response(error: SafelightError, headers: Mapping[str, str]) -> bytes:
    """An error as bytes, for requests that never reach the application."""
    content = json.dumps(body_of(error).model_dump()).encode()
    lines = [
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}",
        "content-type: application/json",
        f"content-length: {len(content)}",
        f"x-should-retry: {'true' if error.retryable else 'false'}",
        *([f"retry-after: {error.retry_after:.0f}"] if error.retryable else []),
        *(f"{name}: {value}" for name, value in headers.items()),
        "connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content
