"""The errors of this package. All are `SafelightError`s.

`APIError` and its subclasses are errors in a response of the API: `code` and `param` say what is wrong, and
`request_id` finds the request in the server's log.
"""

from collections.abc import Mapping
from typing import Any

import httpx


class SafelightError(Exception):
    """Base of all errors of this package.

    retry_seconds: if the request was repeated until the client's limit, that limit; else None. base_url: of the client
    then.
    """

    retry_seconds: float | None = None
    base_url: str | None = None


class ConfigurationError(SafelightError):
    """The URL, the API key or the secret cannot be used. Nothing was sent."""


class InvalidKey(ConfigurationError):
    """The API key has characters that no key has."""


class ConnectionFailed(SafelightError):
    """Safelight does not answer. has_answered: whether it answered an earlier request of this client."""

    def __init__(self, url: str, reason: str, *, has_answered: bool) -> None:
        self.url = url
        self.reason = reason
        self.has_answered = has_answered
        super().__init__(f"{url} {reason}.")


class UnexpectedResponse(SafelightError):
    """The server's response is not one of Safelight's: the URL may be that of another server."""

    def __init__(self, response: httpx.Response) -> None:
        self.url = str(response.url.copy_with(query=None))
        self.status = response.status_code
        self.reason = f"answers {self.status} ({response.reason_phrase})"
        super().__init__(f"{self.url} answered {self.status}, but not as Safelight.")


class APIError(SafelightError):
    """An error in a response of the API.

    status: of HTTP. code, param: None if the API names none. retry_after: seconds, if the API says so. is_temporary:
    whether the API says that a repetition may succeed; then the client has repeated the request already.
    """

    def __init__(self, response: httpx.Response, body: Mapping[str, Any]) -> None:
        self.status = response.status_code
        self.message = " ".join(str(body.get("message", response.reason_phrase)).split())
        self.type: str | None = body.get("type")
        self.code: str | None = body.get("code")
        self.param: str | None = body.get("param")
        self.request_id: str | None = response.headers.get("x-request-id")
        delay = response.headers.get("retry-after", "")
        self.retry_after = float(delay) if delay.isdecimal() else None
        self.is_temporary = response.headers.get("x-should-retry") == "true"
        super().__init__(self.message)

    @property
    def reason(self) -> str:
        """The status and the message, as the end of a sentence."""
        return f"answers {self.status} ({self.message.rstrip('.')})"


class BadRequest(APIError):
    """The request is wrong (400, 413, 415, 422 and others); `param` names the field. Nothing was stored."""


class AuthenticationFailed(APIError):
    """The API key is missing or not valid (401)."""


class PermissionDenied(APIError):
    """The API key lacks the scope of this call (403)."""


class NotFound(APIError):
    """The object does not exist, or no longer (404)."""


class Conflict(APIError):
    """The state of the object does not allow this call, or an idempotency key is in use (409)."""


class TooManyRequests(APIError):
    """A limit of your key or project is reached (429); `retry_after` says for how long."""


class ServerError(APIError):
    """Safelight or a part that it needs has failed (5xx)."""


class WaitTimeout(SafelightError, TimeoutError):
    """The time for waiting is over; the job or batch goes on."""


class JobFailed(SafelightError):
    """A job ended without images. status: `failed`, `cancelled` or `expired`. code: of its error, if it failed."""

    def __init__(self, job_id: str, status: str, code: str | None, message: str) -> None:
        self.job_id = job_id
        self.status = status
        self.code = code
        super().__init__(message)


class BatchFailed(SafelightError):
    """A batch ended, and not all of its lines completed. status: that of the batch."""

    def __init__(self, batch_id: str, status: str, message: str) -> None:
        self.batch_id = batch_id
        self.status = status
        super().__init__(message)


class DownloadDamaged(SafelightError):
    """The SHA-256 of a download is wrong."""

    def __init__(self, image_id: str) -> None:
        self.image_id = image_id
        super().__init__(f"The download of {image_id} is damaged: its SHA-256 differs.")


class SignatureInvalid(SafelightError):
    """A webhook is not signed with the secret, or its timestamp is more than five minutes from now."""


BY_STATUS: Mapping[int, type[APIError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    429: TooManyRequests,
}


def error_of(response: httpx.Response) -> APIError | UnexpectedResponse:
    """The error in a response with a status of 400 or above."""
    try:
        body = response.json()["error"]
        body["message"]
    except (ValueError, KeyError, TypeError):
        return UnexpectedResponse(response)
    kind = BY_STATUS.get(response.status_code, ServerError if response.status_code >= 500 else BadRequest)
    return kind(response, body)
