"""Errors in the format of AUTOMATIC1111's webui. Its clients show `detail` or `errors`."""

from typing import Any

from pydantic import BaseModel, Field

from core.errors import SafelightError, Unauthorized
from core.text import shorten

PREFIX = ("/sdapi/", "/controlnet/")
"""The beginnings of the paths whose errors have this format."""

MAX_CHARS = 1000

HOW_TO_AUTHENTICATE = (
    "The API key is missing or not valid. Send it as the password of HTTP Basic, with any user name (clients that take "
    "user:password, as for the webui's --api-auth: api:sl_...), or as `Authorization: Bearer sl_...`."
)


class ErrorObject(BaseModel):
    """An error."""

    error: str = Field(description="The code of the error; see docs/reference/errors.md.")
    detail: str = Field(description="What is wrong, and what to do.")
    body: str = ""
    errors: str = Field(description="The same as `detail`.")


def error_of(error: SafelightError) -> ErrorObject:
    """An error as the body of a response."""
    is_about_the_key = isinstance(error, Unauthorized) and error.message == Unauthorized().message
    message = HOW_TO_AUTHENTICATE if is_about_the_key else shorten(error.message, MAX_CHARS)
    return ErrorObject(error=error.code or error.type, detail=message, errors=message)


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorObject, "description": description}
    for status, description in {
        400: "The request is not valid; `detail` names the field.",
        401: "The API key is missing or not valid.",
        403: "The API key does not have the scope of this call.",
        413: "The body is larger than the server accepts.",
        415: "The body is not JSON.",
        429: "Too many requests or jobs. Nothing was stored.",
        500: "The image could not be generated.",
        503: "The database, Redis or the image store is not available.",
        504: "The image was not ready in time.",
    }.items()
}
"""The errors of all calls."""
