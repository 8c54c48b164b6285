"""A span for each request, which continues the trace of its client (`traceparent`)."""

from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.telemetry import tracing


class Tracing:
    """ASGI middleware, for an application whose tracing is on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the request within a span, which is named like the route."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        with tracing.request_span(scope["method"], Headers(scope=scope).get("traceparent")) as span:

            async def send_with_status(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _describe(span, scope, message["status"])
                await send(message)

            try:
                await self.app(scope, receive, send_with_status)
            except Exception as error:  # answered with 500, outside this middleware; its message may quote a prompt
                _describe(span, scope, 500)
                span.set_attribute("error.type", type(error).__name__)
                raise


def _describe(span: Any, scope: Scope, status: int) -> None:
    """Say in the span which route has answered, and with which status."""
    route = getattr(scope.get("route"), "path", "")
    span.update_name(f"{scope['method']} {route}".rstrip())
    span.set_attribute("http.route", route)
    span.set_attribute("http.response.status_code", status)
    span.set_attribute("safelight.request_id", scope.get("request_id", ""))
