"""Every request gets an id: in the response's `x-request-id`, in the scope, and in all lines that it logs."""

import re
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core import logs
from core.ids import new_id

_VALID_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")


class RequestId:
    """ASGI middleware. A valid `x-request-id` of the client is used, so that its traces and our log match."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the request and add the id to the response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = scope["request_id"] = _client_request_id(scope) or new_id("req")

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with logs.add_ids(request_id=request_id):
            await self.app(scope, receive, send_with_id)


def _client_request_id(scope: MutableMapping[str, Any]) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _VALID_ID.fullmatch(value):
            return bytes(value).decode()
    return None
