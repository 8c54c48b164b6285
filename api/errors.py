"""Errors as HTTP responses: OpenAI's error object, status and code from `core/errors.py`, and headers for retries."""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from api import refusals
from api.a1111 import errors as a1111
from api.edge.address import api_path
from core.db import UNAVAILABLE, is_statement_timeout
from core.errors import (
    DatabaseUnavailable,
    InternalError,
    InvalidParameter,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    QueryTimeout,
    RequestTooLarge,
    SafelightError,
    first_line,
)
from core.generation_errors import GenerationError
from core.responses.job import ErrorBody, ErrorResponse
from core.text import shorten

log = logging.getLogger(__name__)

MAX_MESSAGE_CHARS = 1000
"""Characters of a message. It may quote what the client sent, such as a name."""

MAX_PARAM_CHARS = 200
"""Characters of `param`. It may be the name of an unknown field."""

Handler = Callable[[Request, Exception], Awaitable[Response]]


def body_of(error: SafelightError) -> ErrorResponse:
    """An error as the body of a response, or as the data of a stream's last event."""
    param = None if error.param is None else shorten(error.param, MAX_PARAM_CHARS)
    message = shorten(error.message, MAX_MESSAGE_CHARS)
    return ErrorResponse(error=ErrorBody(message=message, type=error.type, param=param, code=error.code))


def render(error: SafelightError, path: str = "") -> JSONResponse:
    """An error as a response, in the format of the API that the path belongs to.

    Without `x-should-retry` the OpenAI SDK would retry every 409 and 5xx.
    """
    # A failed job was tried again by the worker: the client's retry would be a new job.
    can_retry = error.retryable and not isinstance(error, GenerationError)
    headers = {"x-should-retry": "true" if can_retry else "false"}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if can_retry:
        headers["retry-after"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = str(round(error.retry_after * 1000))
    body = (a1111.error_of if path.startswith(a1111.PREFIX) else body_of)(error)
    return JSONResponse(body.model_dump(), status_code=error.status, headers=headers)


async def _safelight_error(request: Request, error: Exception) -> Response:
    error = cast(SafelightError, error)
    if error.status in refusals.STATUSES:
        refusals.log_refusal(request, error)
        if error.status == 401:
            request.app.state.context.refused_keys.count(request.headers.get("authorization", ""))
    return render(error, api_path(request))


async def _validation_error(request: Request, error: Exception) -> Response:
    """For query, path and header parameters; `core.requests.job.parse` reads bodies."""
    first = cast(RequestValidationError, error).errors()[0]
    param = ".".join(str(part) for part in first["loc"][1:])
    reason = first["msg"].removeprefix("Input ").removeprefix("String ")
    return render(InvalidParameter(f"{param} {reason}.", param=param), api_path(request))


async def _http_exception(request: Request, error: Exception) -> Response:
    status, path = cast(HTTPException, error).status_code, api_path(request)
    if status == 404:
        return render(NotFound(f"There is nothing at {request.method} {request.url.path}."), path)
    if status == 405:
        methods = _allowed_methods(request, cast(HTTPException, error))
        if request.method == "OPTIONS":
            head = ", HEAD" if "GET" in methods else ""
            return Response(status_code=204, headers={"allow": f"{methods}{head}, OPTIONS"})
        error = MethodNotAllowed(f"{request.url.path} does not support {request.method}, only {methods}.")
        response = render(error, path)
        response.headers["allow"] = methods
        return response
    if status == 413:
        return render(RequestTooLarge(), path)
    return render(InvalidRequest(str(cast(HTTPException, error).detail)), path)


def _allowed_methods(request: Request, error: HTTPException) -> str:
    """The methods of a path. The router's own 405 names only those of one of the path's routes."""
    path = getattr(request.scope.get("route"), "path_format", "")  # without the types of its parameters
    methods = request.app.openapi()["paths"].get(path)
    return ", ".join(method.upper() for method in methods) if methods else (error.headers or {}).get("Allow", "")


async def _database_error(request: Request, error: Exception) -> Response:
    return render(from_database_error(error), api_path(request))


def from_database_error(error: Exception) -> SafelightError:
    """The error of the API for one of `UNAVAILABLE`; the original goes to the log."""
    reason = first_line(error)
    if is_statement_timeout(error):
        log.error("statement timeout: %s", reason)
        return QueryTimeout()
    log.error("database unavailable: %s", reason)
    return DatabaseUnavailable()


async def _client_disconnected(_request: Request, _error: Exception) -> Response:
    """Nobody reads this response; 499 is the status that proxies log for it."""
    return Response(status_code=499)


async def respond_unexpected(request: Request, error: Exception) -> Response:
    """The response to an error that nobody expected, which is logged."""
    request_id = request.scope.get("request_id", "")
    log.exception("request %s failed", request_id, exc_info=error, extra={"request_id": request_id or None})
    return render(InternalError(), api_path(request))


def install(app: FastAPI) -> None:
    """Register a response for every exception that a route raises."""
    app.add_exception_handler(SafelightError, _safelight_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_exception_handler(ClientDisconnect, _client_disconnected)
    for kind in UNAVAILABLE:
        app.add_exception_handler(kind, _database_error)
    app.add_exception_handler(Exception, respond_unexpected)


def handler_of(app: FastAPI, error: Exception) -> Handler | None:
    """What responds to an error; None if nobody expects it."""
    kinds = (kind for kind in type(error).__mro__ if kind is not Exception)
    handlers = cast(Mapping[Any, Handler], app.exception_handlers)
    return next((handlers[kind] for kind in kinds if kind in handlers), None)
