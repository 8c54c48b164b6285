"""The error catalogue: every error of Safelight, its code, its HTTP status, and whether a retry can help.

    SafelightError
    ├── InvalidRequest              400  the request is wrong; nothing was stored
    │   ├── MalformedRequest             it is not HTTP, or two readers could read it differently
    │   ├── InvalidJSON, UnknownParameter, MissingParameter
    │   ├── InvalidParameter             a known field with a value that is not allowed
    │   ├── DuplicateCustomId            two lines of a batch have the same custom_id
    │   └── ModelNotFound
    ├── Unauthorized                401
    ├── InsufficientScope           403  the API key may not be used for this call
    ├── CrossSite                   403  keys are off, and a web page of another site sent the request
    ├── HostNotAllowed              421  keys are off, and the request has another machine's name
    ├── NotFound 404, also for objects of another project; MethodNotAllowed 405
    ├── JobNotFinal, JobNotRetryable, JobNotReproducible, BatchNotFinal, BatchNotRetryable 409
    ├── BatchProcessingFailed       500  an entry of a batch's `errors`
    ├── IdempotencyConflict         409  a request with the same key is in progress
    ├── RequestTooSlow 408, RequestTooLarge 413, UnsupportedMediaType 415, HeadersTooLarge 431
    ├── IdempotencyMismatch         422  the same key came with another request
    ├── RateLimitExceeded, QueueFull … 429  a limit is reached: core/limit_errors.py
    ├── RequestTimeout              504  a synchronous call waited too long; the job continues
    ├── McpNotInstalled             501  `/mcp` needs an optional extra
    ├── QueryTimeout                503  the database cancelled a statement that took too long
    ├── Unavailable                 503
    │   ├── TooManyConnections, UploadsFull, QueueDraining
    │   └── DatabaseUnavailable, NotifierUnavailable, StorageUnavailable
    ├── InternalError               500
    └── GenerationError                  why a job failed: core/generation_errors.py

The default message of an error is the docstring of its class. `api/errors.py` renders errors in OpenAI's format.
"""

from typing import ClassVar


class SafelightError(Exception):
    """An error occurred."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str = "internal_error"
    retryable: ClassVar[bool] = False
    retry_after: float = 1.0
    """Seconds after which a retry can succeed, if the error is retryable."""

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").split("\n")[0]
        self.param = param
        super().__init__(self.message)


class InvalidRequest(SafelightError):
    """The request is not valid."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class MalformedRequest(InvalidRequest):
    """This is not a valid HTTP/1.1 request."""

    code = "malformed_request"


class InvalidJSON(InvalidRequest):
    """The body is not valid JSON."""

    code = "invalid_json"


class InvalidParameter(InvalidRequest):
    """A parameter has a value that is not allowed."""

    code = "invalid_value"


class UnknownParameter(InvalidRequest):
    """The request has an unknown parameter."""

    code = "unknown_parameter"


class MissingParameter(InvalidRequest):
    """A required parameter is missing."""

    code = "missing_required_parameter"


class DuplicateCustomId(InvalidParameter):
    """Two lines of a batch have the same custom_id."""

    code = "duplicate_custom_id"


class ModelNotFound(InvalidRequest):
    """The model is not in the catalogue."""

    code = "model_not_found"


class Unauthorized(SafelightError):
    """The API key is missing or not valid; send it as `Authorization: Bearer sl_...`."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class InsufficientScope(SafelightError):
    """The API key does not have the scope that this call needs."""

    status = 403
    type = "permission_error"
    code = "insufficient_scope"


class CrossSite(SafelightError):
    """A web page of another site sent this request while API keys are off; SAFELIGHT_CORS_ORIGINS can allow it."""

    status = 403
    type = "invalid_request_error"
    code = "cross_site_request"


class HostNotAllowed(SafelightError):
    """API keys are off, and the request's Host is not a name of this machine."""

    status = 421
    type = "invalid_request_error"
    code = "host_not_allowed"


class NotFound(SafelightError):
    """There is nothing at this address."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class MethodNotAllowed(SafelightError):
    """This address does not support this method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"


class JobNotFinal(SafelightError):
    """The job is not finished yet; cancel it first."""

    status = 409
    type = "invalid_request_error"
    code = "job_not_final"


class JobNotRetryable(SafelightError):
    """Only a failed, cancelled or expired job can be retried."""

    status = 409
    type = "invalid_request_error"
    code = "job_not_retryable"


class JobNotReproducible(SafelightError):
    """Only a completed job of a local model can be reproduced."""

    status = 409
    type = "invalid_request_error"
    code = "job_not_reproducible"


class BatchNotFinal(SafelightError):
    """The batch is not finished yet."""

    status = 409
    type = "invalid_request_error"
    code = "batch_not_final"


class BatchNotRetryable(SafelightError):
    """The batch has no line to retry: all its jobs completed, or no job was created."""

    status = 409
    type = "invalid_request_error"
    code = "batch_not_retryable"


class BatchProcessingFailed(SafelightError):
    """The batch processor failed again and again while it processed the batch."""

    code = "batch_processing_failed"


class IdempotencyConflict(SafelightError):
    """A request with this Idempotency-Key is in progress; try again in a second."""

    status = 409
    type = "idempotency_error"
    code = "idempotency_key_in_use"
    retryable = True


class IdempotencyMismatch(SafelightError):
    """This Idempotency-Key was already used for a different request."""

    status = 422
    type = "idempotency_error"
    code = "idempotency_key_reused"


class RequestTooSlow(SafelightError):
    """The request did not arrive in time."""

    status = 408
    type = "invalid_request_error"
    code = "request_too_slow"


class RequestTooLarge(SafelightError):
    """The request body is too large."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class UnsupportedMediaType(SafelightError):
    """The body has a content type that this call does not read."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class HeadersTooLarge(SafelightError):
    """The request has too many or too large headers, or too long a URL."""

    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class RequestTimeout(SafelightError):
    """The image was not ready in time; the job continues and can be fetched by its id."""

    status = 504
    code = "timeout"


class McpNotInstalled(SafelightError):
    """The tools for agents need the extra `mcp`: `make install` in a checkout installs it; so does `all` of a wheel."""

    status = 501
    code = "mcp_not_installed"


class QueryTimeout(SafelightError):
    """The database cancelled the query because it took too long; use a narrower filter or request fewer rows."""

    status = 503
    code = "query_timeout"


class Unavailable(SafelightError):
    """Safelight cannot answer at the moment; try again."""

    status = 503
    code = "service_unavailable"
    retryable = True


class TooManyConnections(Unavailable):
    """All connections of this API are in use; nothing was stored, try again."""

    code = "too_many_connections"


class UploadsFull(Unavailable):
    """The space for bodies that are being read is in use; nothing was stored, try again."""

    code = "uploads_full"


class QueueDraining(Unavailable):
    """An operator drains the queue of this model, which accepts no jobs; nothing was stored."""

    code, retryable = "queue_draining", False


class DatabaseUnavailable(Unavailable):
    """The database does not answer; nothing was stored, try again."""

    code = "database_unavailable"


class NotifierUnavailable(Unavailable):
    """Redis does not answer, and this call needs it; try again."""

    code = "notifier_unavailable"


class StorageUnavailable(Unavailable):
    """The image storage does not answer; try again."""

    code = "storage_unavailable"


class InternalError(SafelightError):
    """An internal error occurred; the server log has the details under the request id."""


def first_line(error: BaseException) -> str:
    """The first line of an error's message. Libraries append statements, parameters and advice."""
    return str(error).strip().partition("\n")[0]
