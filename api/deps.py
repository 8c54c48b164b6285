"""What handlers ask for: the context, and the project that the request's key opens."""

import time
from typing import Annotated

from fastapi import Depends, Request

from api.context import Context
from core import keys
from core.errors import InvalidParameter, NotFound, RequestTooLarge, Unauthorized
from core.tables import DEFAULT_PROJECT

CACHE_SECONDS = 30.0
"""How long a key is trusted without asking the database again; a revoked one is shut out within that time."""


async def context(request: Request) -> Context:
    """The parts of this API."""
    found: Context = request.app.state.context
    return found


AppContext = Annotated[Context, Depends(context)]


async def plain_address(request: Request) -> None:
    """Refuse a NUL, which no text in the database can hold, in path or query. Raises NotFound, InvalidParameter."""
    if "\0" in request.scope["path"]:
        raise NotFound
    for name, value in request.query_params.multi_items():
        if "\0" in name or "\0" in value:
            raise InvalidParameter(f"{name!r} must not contain the character U+0000.", param=name)


async def project(request: Request, context: AppContext) -> str:
    """The project of this request. Raises Unauthorized."""
    if not context.settings.needs_key:
        return DEFAULT_PROJECT
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.startswith(keys.PREFIX):
        raise Unauthorized
    known: dict[bytes, tuple[str, float]] = request.app.state.known_keys
    fingerprint = keys.hash_key(key)
    found = known.get(fingerprint)
    if found is None or found[1] < time.monotonic():
        rows = await context.database.execute(keys.get_project_id(key))
        if not rows:
            known.pop(fingerprint, None)
            raise Unauthorized
        found = known[fingerprint] = (rows[0], time.monotonic() + CACHE_SECONDS)
    return found[0]


Project = Annotated[str, Depends(project)]


async def json_body(request: Request, context: AppContext) -> bytes:
    """The body of most calls. Raises RequestTooLarge."""
    return await body_up_to(request, context.settings.max_body_bytes)


async def body_up_to(request: Request, limit: int) -> bytes:
    """The body, read no further than a limit. Raises RequestTooLarge.

    Starlette's own limit would answer in plain text, and error bodies here have one shape.
    """
    if int(request.headers.get("content-length") or 0) > limit:
        raise _too_large(limit)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {limit} bytes.", param="body")


Body = Annotated[bytes, Depends(json_body)]
