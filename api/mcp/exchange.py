"""One HTTP request of an MCP client: whether it is cancelled, and by which of the protocol's two ways.

Since the version 2026-07-28, a client cancels a request by closing its connection. Before, it sends another request,
`notifications/cancelled`, and a lost connection does not mean that the result is not wanted. That other request may
reach another process, so it is published over Redis. A session id only tells apart the requests of different clients:
it is random, and nothing is stored under it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from fastapi import Request

from api.callers import Caller

SESSION_HEADER = "mcp-session-id"
EXCHANGE = "mcp_exchange"
"""The key of an `Exchange` in the scope of its request."""

_SESSION_ID = re.compile(r"[0-9a-f]{32}")
MAX_ID_CHARS = 200
"""Characters of a request id that can be cancelled. Clients count from 0, or use a UUID."""


@dataclass(slots=True)
class Exchange:
    """A request and its response."""

    has_disconnected: bool = False


def new_session_id() -> str:
    """An id for the session of a client that begins with `initialize`."""
    return uuid4().hex


def call_id(request: Request, caller: Caller, request_id: object) -> str | None:
    """An id of a call of a tool, for all processes. None: the client cannot cancel it by a message.

    request_id: that of the protocol's message, which the client chose.
    """
    session_id = request.headers.get(SESSION_HEADER, "")
    if not _SESSION_ID.fullmatch(session_id) or not isinstance(request_id, int | str):
        return None
    if isinstance(request_id, str) and len(request_id) > MAX_ID_CHARS:
        return None
    parts = json.dumps([caller.project_id, session_id, request_id])
    return f"mcp-{hashlib.sha256(parts.encode()).hexdigest()}"


def cancelled_call_id(request: Request, caller: Caller, message: Mapping[str, Any]) -> str | None:
    """The id of the call that a message cancels; None for every other message."""
    params = message.get("params")
    if message.get("method") != "notifications/cancelled" or not isinstance(params, Mapping):
        return None
    return call_id(request, caller, params.get("requestId"))
