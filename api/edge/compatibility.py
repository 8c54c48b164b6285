"""HTTP as clients use it: addresses with `/v1` missing or twice, and HEAD wherever GET is.

A client's base URL may lack `/v1`, or the client adds its own. Both lead to the route that was meant.
"""

import asyncio
import re

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import render
from core.errors import MethodNotAllowed

_OPENAI_PATHS = re.compile(r"/(images|responses|files|batches|models)(/.*)?")
"""Paths of OpenAI's API without `/v1`. Nothing else has such a path here."""

_WEBUI_PATH = re.compile(r"(/v1)?/+(?=sdapi/v1/)")
"""What stands before a path of AUTOMATIC1111's API if the base URL ends with a slash, or with `/v1`."""

_REPEATED_VERSION = re.compile(r"(/v1){2,}(?=/|$)")
_POST_ONLY = {
    "/v1/images/generations": "a JSON body with the prompt",
    "/v1/images/edits": "a form with image and prompt, or a JSON body",
    "/v1/images/variations": "a form with image, or a JSON body",
}
"""Calls whose path a GET would take for that of an image, and what to send there."""


def refuse_get(path: str) -> Response | None:
    """The response to a GET of a call that has a body; None for other paths."""
    if path not in _POST_ONLY:
        return None
    response = render(MethodNotAllowed(f"{path} does not support GET. Send POST with {_POST_ONLY[path]}."))
    response.headers["allow"] = "POST"
    return response


async def answer_head(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the head of a GET's response, then end the GET: a stream of events would go on."""
    is_sent = asyncio.Event()

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start" and not is_sent.is_set():
            await send(message)
            await send({"type": "http.response.body", "body": b""})
            is_sent.set()

    async def answer_get() -> None:
        await app({**scope, "method": "GET"}, receive, send_head)

    request = asyncio.create_task(answer_get())
    head = asyncio.create_task(is_sent.wait())
    try:
        await asyncio.wait({request, head}, return_when=asyncio.FIRST_COMPLETED)
        if request.done():
            request.result()
    finally:
        request.cancel()
        head.cancel()
        await asyncio.gather(request, head, return_exceptions=True)


def canonical_path(path: str) -> str:
    """The path of a route: with `/v1` once, and that of AUTOMATIC1111's API with one slash."""
    if "sdapi/v1/" in path:
        return _WEBUI_PATH.sub("/", path, count=1) if _WEBUI_PATH.match(path) else path
    path = _REPEATED_VERSION.sub("/v1", path, count=1) if path.startswith("/v1/v1") else path
    return f"/v1{path}" if _OPENAI_PATHS.fullmatch(path) else path
