"""`POST /mcp`: the Model Context Protocol over HTTP ("streamable HTTP"). The tools are in `api/mcp/tools.py`.

A request is authenticated, bounded and counted like every other request of the API. Nothing of a session is stored, so
any process can answer any request. There is no stream for messages of the server alone: GET is a 405, as the protocol
allows.
"""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from api.authentication import CurrentCaller, requires
from api.deps import AppContext, json_body
from api.errors import body_of, render
from api.mcp.exchange import cancelled_call_id
from api.mcp.protocol import Protocol
from core.errors import InvalidJSON, SafelightError
from core.requests.structure import load_json
from core.scopes import Scope

router = APIRouter(tags=["mcp"], include_in_schema=False)

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
INTERNAL_ERROR = -32603
"""Codes of JSON-RPC, which the package `mcp` would know too; it may not be installed."""


@router.post("/mcp")
@requires(Scope.READ)
async def serve(request: Request, context: AppContext, caller: CurrentCaller) -> Response:
    """Answer one message of a client. A tool that submits something needs the scope `submit` as well."""
    message: Mapping[str, Any] = {}
    try:
        body = await json_body(request, context)
        if isinstance(content := load_json(body), Mapping):
            message = content
        protocol: Protocol = request.app.state.mcp
        response = await protocol.respond(context, body, message)
    except SafelightError as error:
        return _refuse(error, message.get("id"))
    if (call_id := cancelled_call_id(request, caller, message)) is not None:
        await context.listener.publish_cancel(call_id)
    return response


def _refuse(error: SafelightError, message_id: Any) -> Response:
    """An error as the protocol's clients show it. `data` has the error as the rest of the API returns it."""
    response = render(error)
    code = INVALID_REQUEST if error.status < 500 else INTERNAL_ERROR
    if isinstance(error, InvalidJSON):
        code = PARSE_ERROR
    detail = {"code": code, "message": error.message, "data": body_of(error).error.model_dump()}
    content = json.dumps({"jsonrpc": "2.0", "id": message_id, "error": detail}).encode()
    del response.headers["content-length"]
    return Response(content, response.status_code, response.headers, "application/json")
