"""Dependencies of request handlers: the context and the body. The caller and its project: `api/authentication.py`."""

from typing import Annotated

from fastapi import Depends, Request

from api.context import Context
from api.edge import content_type
from api.edge.content_encoding import Expander
from api.uploads import Uploads
from core.errors import InvalidParameter, InvalidRequest, NotFound, RequestTooLarge

MAX_QUERY_BYTES = 16_384
"""Bytes of a query string: 16 entries of metadata, percent-encoded, and all other parameters."""


async def context(request: Request) -> Context:
    """The services of this API, with links that begin with the address of the request."""
    services: Context = request.app.state.context
    return services.at(request.scope["base_url"])


AppContext = Annotated[Context, Depends(context)]


async def reject_nul(request: Request) -> None:
    """Reject a NUL in path or query: Postgres cannot store it in text. Raises NotFound, InvalidParameter.

    A query that is too long is rejected before its parameters are parsed.
    """
    if "\0" in request.scope["path"]:
        raise NotFound
    if not request.scope["query_string"]:
        return
    if len(request.scope["query_string"]) > MAX_QUERY_BYTES:
        raise InvalidRequest(f"The query string is longer than {MAX_QUERY_BYTES} bytes.", param="query")
    for name, value in request.query_params.multi_items():
        if "\0" in name or "\0" in value:
            raise InvalidParameter(f"{name!r} must not contain the character U+0000.", param=name)


async def json_body(request: Request, context: AppContext) -> bytes:
    """The body, up to the limit of most calls. Raises UnsupportedMediaType, RequestTooLarge."""
    return await body_up_to(request, context.settings.max_body_bytes)


async def body_up_to(request: Request, limit: int) -> bytes:
    """Read a JSON body up to a limit, which is that of the expanded body if it is compressed with gzip.

    Raises UnsupportedMediaType, RequestTooLarge, UploadsFull, InvalidRequest.

    Starlette's own limit would respond in plain text, and every error here is JSON.
    """
    content_type.check(request.headers.get("content-type", ""), content_type.JSON)
    if int(request.headers.get("content-length") or 0) > limit:
        raise _too_large(limit)
    uploads: Uploads = request.app.state.context.uploads
    chunks = []
    expander = Expander(request.headers.get("content-encoding", ""))
    with uploads.json.reserve() as reservation:
        async for chunk in request.stream():
            content = expander.expand(chunk, limit - reservation.size)
            reservation.add(len(content))
            if reservation.size > limit:
                raise _too_large(limit)
            chunks.append(content)
        expander.check_end()
    return b"".join(chunks)


def _too_large(limit: int) -> RequestTooLarge:
    return RequestTooLarge(f"The body is larger than {limit} bytes.", param="body")


Body = Annotated[bytes, Depends(json_body)]
