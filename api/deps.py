"""Dependencies of request handlers: the context, the project of the API key, the body."""

import time
from typing import Annotated

from fastapi import Depends, Request

from api.context import Context
from core import keys
from core.errors import InvalidParameter, NotFound, RequestTooLarge, Unauthorized
from core.tables import DEFAULT_PROJECT

CACHE_SECONDS = 30.0
"""How long the project of an API key is cached; a revoked key is rejected after this time at the latest."""


async def context(request: Request) -> Context:
    """The services of this API."""
    services: Context = request.app.state.context
    return services


AppContext = Annotated[Context, Depends(context)]


async def reject_nul(request: Request) -> None:
    """Reject a NUL in path or query: Postgres cannot store it in text. Raises NotFound, InvalidParameter."""
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
    cache: dict[bytes, tuple[str, float]] = request.app.state.project_cache
    key_hash = keys.hash_key(key)
    entry = cache.get(key_hash)
    if entry is None or entry[1] < time.monotonic():
        rows = await context.database.execute(keys.get_project_id(key))
        if not rows:
            cache.pop(key_hash, None)
            raise Unauthorized
        entry = cache[key_hash] = (rows[0], time.monotonic() + CACHE_SECONDS)
    return entry[0]


Project = Annotated[str, Depends(project)]


async def json_body(request: Request, context: AppContext) -> bytes:
    """The body, up to the limit of most calls. Raises RequestTooLarge."""
    return await body_up_to(request, context.settings.max_body_bytes)


async def body_up_to(request: Request, limit: int) -> bytes:
    """Read the body up to a limit. Raises RequestTooLarge.

    Starlette's own limit would respond in plain text, and every error here is JSON.
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
