"""Observes the time of each request, by the template of its route."""

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.metrics import HTTP_SECONDS

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""A client can send any word as a method; the others are `other`."""

NO_ROUTE = "none"
"""The label of requests that no route has handled: unknown paths, refusals before the router, files."""


class RequestMetrics:
    """ASGI middleware, the outermost: it also sees what the others refuse."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the request. A request whose client leaves before the response is not counted."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.monotonic()
        has_started = False

        async def send_and_observe(message: Message) -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                _observe(scope, message["status"], time.monotonic() - began)
            await send(message)

        try:
            await self.app(scope, receive, send_and_observe)
        except Exception:  # the server answers 500 outside of this middleware
            if not has_started:
                _observe(scope, 500, time.monotonic() - began)
            raise


def _observe(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in METHODS else "other"
    route = getattr(scope.get("route"), "path_format", NO_ROUTE)
    HTTP_SECONDS.labels(method, route, str(status)).observe(seconds)
