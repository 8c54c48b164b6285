"""Passes requests to the package `mcp`, which speaks the protocol. It is imported and started by the first request."""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi.responses import Response
from starlette.datastructures import MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from api.context import Context
from api.mcp.exchange import EXCHANGE, SESSION_HEADER, Exchange, new_session_id
from core.errors import McpNotInstalled

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager


class Protocol:
    """The protocol's server of one process. It starts with the first request."""

    def __init__(self) -> None:
        self._start: asyncio.Task[StreamableHTTPSessionManager] | None = None
        self._server: asyncio.Task[None] | None = None

    async def respond(self, context: Context, body: bytes, message: Mapping[str, Any]) -> Response:
        """The response to a message, whose body has been read. Raises McpNotInstalled."""
        if self._start is None:
            self._start = asyncio.create_task(self._run(context))
        manager = await asyncio.shield(self._start)
        session_id = new_session_id() if message.get("method") == "initialize" else None
        return ProtocolResponse(manager, body, session_id)

    async def close(self) -> None:
        """Stop. Requests have been answered, or were interrupted."""
        if self._server is not None:
            self._server.cancel()
            await asyncio.gather(self._server, return_exceptions=True)

    async def _run(self, context: Context) -> "StreamableHTTPSessionManager":
        manager = await context.threads.parsing.run("", _import_manager, context)
        is_running = asyncio.Event()

        async def run() -> None:
            """One task, because the manager's task group must be left by the task that entered it."""
            async with manager.run():
                is_running.set()
                await asyncio.Event().wait()

        self._server = asyncio.create_task(run())
        await is_running.wait()
        return manager


def _import_manager(context: Context) -> "StreamableHTTPSessionManager":
    """Import the package, in a thread: other requests are answered meanwhile. Raises McpNotInstalled."""
    try:
        from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    except ModuleNotFoundError as error:
        raise McpNotInstalled from error
    from api.mcp.server import create_server

    logging.getLogger("mcp").setLevel(logging.ERROR)  # clients decide how many other lines it would write
    # Without state, any process can answer. The body was bounded before; Host and Origin are checked at the edge.
    return StreamableHTTPSessionManager(
        create_server(context), stateless=True, max_request_body_size=context.settings.max_body_bytes
    )


class ProtocolResponse(Response):
    """The response that the package writes. session_id: sent to a client that begins a session."""

    def __init__(self, manager: "StreamableHTTPSessionManager", body: bytes, session_id: str | None) -> None:
        super().__init__()
        self._manager = manager
        self._request_body = body
        self._session_id = session_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the package read the body again, and write the response."""
        exchange = scope[EXCHANGE] = Exchange()
        messages: list[Message] = [{"type": "http.request", "body": self._request_body, "more_body": False}]

        async def receive_again() -> Message:
            if messages:
                return messages.pop()
            message = await receive()
            if message["type"] == "http.disconnect":
                exchange.has_disconnected = True
            return message

        async def send_with_session(message: Message) -> None:
            if message["type"] == "http.response.start" and self._session_id is not None:
                MutableHeaders(scope=message)[SESSION_HEADER] = self._session_id
            await send(message)

        await self._manager.handle_request(scope, receive_again, send_with_session)
