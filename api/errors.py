"""How an error looks on the wire: OpenAI's error object, the catalogue's status and code, and headers for retries."""

import logging
import math
from collections.abc import Awaitable, Callable
from typing import cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from core.db import UNAVAILABLE
from core.errors import (
    DatabaseUnavailable,
    InternalError,
    InvalidParameter,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RequestTooLarge,
    SafelightError,
    first_line,
)
from core.responses.job import ErrorBody, ErrorResponse

log = logging.getLogger(__name__)

Handler = Callable[[Request, Exception], Awaitable[Response]]


def body_of(error: SafelightError) -> ErrorResponse:
    """An error as the body of an answer, or of a stream's last event."""
    return ErrorResponse(error=ErrorBody(message=error.message, type=error.type, param=error.param, code=error.code))


def render(error: SafelightError) -> JSONResponse:
    """An error as an answer. `x-should-retry` tells the OpenAI SDK, which would repeat every 409 and 5xx."""
    headers = {"x-should-retry": "true" if error.retryable else "false"}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.retryable:
        headers["retry-after"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = str(round(error.retry_after * 1000))
    return JSONResponse(body_of(error).model_dump(), status_code=error.status, headers=headers)


async def _known(_request: Request, error: Exception) -> Response:
    return render(cast(SafelightError, error))


async def _invalid(_request: Request, error: Exception) -> Response:
    """Of a query or path parameter; bodies are read by `core.requests.job.parse`."""
    first = cast(RequestValidationError, error).errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:])
    return render(InvalidParameter(f"{param} {first['msg'].removeprefix('Input ')}.", param=param))


async def _http(request: Request, error: Exception) -> Response:
    status = cast(HTTPException, error).status_code
    if status == 404:
        return render(NotFound(f"There is nothing at {request.method} {request.url.path}."))
    if status == 405:
        refused = render(MethodNotAllowed(f"{request.url.path} does not take {request.method}."))
        refused.headers["allow"] = _allowed(request, cast(HTTPException, error))
        return refused
    if status == 413:
        return render(RequestTooLarge())
    return render(InvalidRequest(str(cast(HTTPException, error).detail)))


def _allowed(request: Request, refused: HTTPException) -> str:
    """The methods that an address takes; the router's own 405 knows those of one of its routes only."""
    address = getattr(request.scope.get("route"), "path", "")
    taken = request.app.openapi()["paths"].get(address)
    return ", ".join(method.upper() for method in taken) if taken else (refused.headers or {}).get("Allow", "")


async def _database(_request: Request, error: Exception) -> Response:
    log.error("database unavailable: %s", first_line(error))
    return render(DatabaseUnavailable())


async def _unexpected(request: Request, error: Exception) -> Response:
    """Answered outside of every middleware, so the id that `api/request_id.py` gave is put on here."""
    request_id = request.scope.get("request_id", "")
    log.exception("request %s failed", request_id, exc_info=error)
    answer = render(InternalError())
    answer.headers["x-request-id"] = request_id
    return answer


def install(app: FastAPI) -> None:
    """Render every exception that leaves a handler."""
    app.add_exception_handler(SafelightError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for kind in UNAVAILABLE:
        app.add_exception_handler(kind, _database)
    app.add_exception_handler(Exception, _unexpected)
