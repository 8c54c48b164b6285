"""What happens around each request, in one layer: its id, address, access, open request, headers, time and errors.

ASGI middleware of its own for each of these would cost a submit a sixth of its time: every layer is a coroutine around
the request and one around each part of the response. The rules are in the modules that this one calls.
"""

import asyncio
import time
from collections.abc import Iterable

from fastapi import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors, rate_limits
from api.direct_routes import DirectRoute, DirectRoutes
from api.edge import request_metrics
from api.edge.access import Access
from api.edge.address import Address, add_prefix
from api.edge.compatibility import answer_head, canonical_path, refuse_get
from api.edge.open_requests import OpenRequest, send_end
from api.edge.refusals import refusals
from api.edge.request_id import request_id_of
from api.limits import CURRENT_RATES
from core.redis.rates import Rate
from core.settings import Settings
from core.telemetry import logs


class Exchange:
    """A request and its response. `send` passes on what the application sends."""

    __slots__ = ("_begin", "_scope", "_send", "has_ended", "has_started", "open_request")

    def __init__(self, scope: Scope, send: Send, open_request: OpenRequest) -> None:
        self._begin = time.monotonic()
        self._scope = scope
        self._send = send
        self.open_request = open_request
        self.has_started = False
        self.has_ended = False  # the API key has ended: what follows is the end of the response

    async def send(self, message: Message) -> None:
        """Send a part of the response. The first one gets the headers of every response, and is counted."""
        if message["type"] == "http.response.start":
            self._start(message)
        await self._send(message)

    def _start(self, message: Message) -> None:
        scope = self._scope
        self.has_started = True
        headers, content_type = self._headers(message.get("headers", ()))
        if not self.has_ended:
            rates: dict[str, Rate] = scope["rates"]
            if rates:
                headers += rate_limits.headers_of(rates)
            self.open_request.start(content_type)
        headers.append((b"x-request-id", scope["request_id"].encode()))
        message["headers"] = headers
        self.observe(message["status"])

    def _headers(self, pairs: Iterable[tuple[bytes, bytes]]) -> tuple[list[tuple[bytes, bytes]], str]:
        """The headers of the application without a request id, and the content type among them.

        A `Location` that is a path gets the prefix under which a proxy serves the API.
        """
        headers = []
        content_type = ""
        for name, value in pairs:
            if name == b"content-type":
                content_type = value.decode("latin-1")
            elif name == b"x-request-id":
                continue
            elif name == b"location" and value.startswith(b"/") and self._scope["prefix"]:
                headers.append((name, self._scope["prefix"].encode() + value))
                continue
            headers.append((name, value))
        return headers, content_type

    def observe(self, status: int) -> None:
        """Observe the time until the response."""
        request_metrics.observe(self._scope, status, time.monotonic() - self._begin)


class RequestMiddleware:
    """ASGI middleware, around the application and its direct routes. app: where other requests go."""

    def __init__(self, app: ASGIApp, direct_routes: DirectRoutes, settings: Settings) -> None:
        self._app = app
        self._direct_routes = direct_routes
        self._address = Address(settings)
        self._access = Access(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request. Whose client leaves before the response is not counted."""
        task = asyncio.current_task()
        if scope["type"] != "http" or task is None:
            await self._app(scope, receive, send)
            return
        open_request = OpenRequest(task, scope["method"] in ("GET", "HEAD"))
        exchange = Exchange(scope, send, open_request)
        request_id = request_id_of(scope["headers"])
        rates: dict[str, Rate] = {}
        CURRENT_RATES.set(rates)
        scope.update(request_id=request_id, rates=rates, open_request=open_request)
        with logs.add_ids(request_id=request_id):
            try:
                await self._handle(scope, receive, exchange)
            except asyncio.CancelledError:
                if not open_request.take_back_interrupt():
                    raise
                exchange.has_ended = True
                await send_end(open_request, scope, receive, exchange.send)
            except Exception:  # the server answers 500
                if not exchange.has_started:
                    exchange.observe(500)
                raise
            finally:
                open_request.leave()

    async def _handle(self, scope: Scope, receive: Receive, exchange: Exchange) -> None:
        self._address.read(scope)
        error = self._access.check(scope)
        if error is not None:
            refusals.record(error.code, "%s %s: %s", scope["method"], scope["path"], error.message)
            await errors.render(error, scope["path"])(scope, receive, exchange.send)
            return
        method, path = scope["method"], canonical_path(scope["path"])
        if path != scope["path"]:
            scope["path"], scope["raw_path"] = path, path.encode()
        if method == "POST":
            await self._route(scope, receive, exchange.send, exchange)
        elif method in ("GET", "HEAD") and (refusal := refuse_get(path)) is not None:
            await refusal(scope, receive, exchange.send)
        elif method == "HEAD":

            async def answer_get(scope: Scope, receive: Receive, send: Send) -> None:
                await self._route(scope, receive, send, exchange)

            await answer_head(answer_get, scope, receive, exchange.send)
        else:
            await self._route(scope, receive, exchange.send, exchange)

    async def _route(self, scope: Scope, receive: Receive, send: Send, exchange: Exchange) -> None:
        """Handle a request with its direct route if there is one, else with the application."""
        match = self._direct_routes.match(scope["method"], scope["path"])
        if scope["prefix"]:
            scope, send = add_prefix(scope, send)
        if match is None:
            await self._app(scope, receive, send)
            return
        route, parameters = match
        scope.update(endpoint=route.endpoint, route=route.original, path_params=parameters)
        request = Request(scope, receive, send)
        try:
            await self._respond(route, request, receive, send)
        except Exception as error:
            response = await errors.respond_unexpected(request, error)
            if not exchange.has_started:
                await response(scope, receive, send)
            raise

    async def _respond(self, route: DirectRoute, request: Request, receive: Receive, send: Send) -> None:
        """Respond as the application would, with its responses for errors."""
        try:
            response = await route.respond(request)
        except Exception as error:
            handler = errors.handler_of(request.app, error)
            if handler is None:
                raise
            response = await handler(request, error)
            error.__traceback__ = None  # as Starlette does: an error that is raised again would collect them
        await response(request.scope, receive, send)
