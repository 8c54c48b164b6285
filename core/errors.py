"""The error catalogue: every error of Safelight, its code, its HTTP status, and whether a retry can help.

    SafelightError
    ├── InvalidRequest              400  the request is wrong; nothing was stored
    │   ├── InvalidJSON, UnknownParameter, MissingParameter
    │   ├── InvalidParameter             a known field with a value that is not allowed
    │   ├── DuplicateCustomId            two lines of a batch have the same custom_id
    │   └── ModelNotFound
    ├── Unauthorized                401
    ├── NotFound                    404  also for objects of another project
    ├── MethodNotAllowed            405
    ├── JobNotFinal, JobNotRetryable      409
    ├── BatchNotFinal, BatchNotRetryable  409
    ├── IdempotencyConflict         409  a request with the same key is in progress
    ├── RequestTooLarge             413
    ├── IdempotencyMismatch         422  the same key came with another request
    ├── TooManyBatches              429
    ├── QueueFull                   429  a synchronous call could not be answered in time
    ├── RequestTimeout              504  a synchronous call waited too long; the job continues
    ├── QueryTimeout                503  the database cancelled a statement that took too long
    ├── Unavailable                 503
    │   ├── DatabaseUnavailable
    │   └── StorageUnavailable
    ├── InternalError               500
    └── GenerationError                  why a job failed; becomes the job's `error`
        ├── OutOfMemory
        ├── GeneratorFailed              retryable
        ├── ModelUnavailable             retryable: another worker may have it
        ├── StorageFailed                retryable
        ├── InputUnavailable             a file that the job needs no longer exists
        ├── PostprocessFailed
        ├── AttemptTimeout
        ├── WorkerStalled                retryable
        ├── PoisonJob
        ├── ContentPolicyViolation
        ├── ProviderRefused, ProviderAuthentication, ProviderQuotaExhausted
        ├── ProviderUnavailable          retryable: nothing was generated
        ├── ProviderRateLimited, ProviderPaused  the job waits; the attempt is not counted
        └── ProviderMayHaveBilled        retryable only if the operator allows it
            └── ProviderOutcomeUnknown, ProviderAnswerUnreadable, ProviderAnswerLost

The default message of an error is the docstring of its class. `api/errors.py` renders errors in OpenAI's format.
"""

from typing import ClassVar


class SafelightError(Exception):
    """An error occurred."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str = "internal_error"
    retryable: ClassVar[bool] = False
    retry_after: ClassVar[float] = 1.0
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


class RequestTooLarge(SafelightError):
    """The request body is too large."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class TooManyBatches(SafelightError):
    """This project has too many unfinished batches; nothing was stored, try again when one has finished."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_batches"
    retryable = True
    retry_after = 60.0


class QueueFull(SafelightError):
    """Too many jobs are queued to answer a synchronous call in time; nothing was stored, try again later."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"
    retryable = True
    retry_after = 5.0


class RequestTimeout(SafelightError):
    """The image was not ready in time; the job continues and can be fetched by its id."""

    status = 504
    code = "timeout"


class QueryTimeout(SafelightError):
    """The database cancelled the query because it took too long; use a narrower filter or request fewer rows."""

    status = 503
    code = "query_timeout"


class Unavailable(SafelightError):
    """Safelight cannot answer at the moment; try again."""

    status = 503
    code = "service_unavailable"
    retryable = True


class DatabaseUnavailable(Unavailable):
    """The database does not answer; nothing was stored, try again."""

    code = "database_unavailable"


class StorageUnavailable(Unavailable):
    """The image storage does not answer; try again."""

    code = "storage_unavailable"


class InternalError(SafelightError):
    """An internal error occurred; the server log has the details under the request id."""


class GenerationError(SafelightError):
    """The image could not be generated."""

    code = "generation_failed"


class OutOfMemory(GenerationError):
    """The device has too little memory for one image of this size."""

    code = "out_of_memory"


class GeneratorFailed(GenerationError):
    """The model failed during generation."""

    code = "generator_failed"
    retryable = True


class ModelUnavailable(GenerationError):
    """The model could not be loaded."""

    code = "model_unavailable"
    retryable = True


class StorageFailed(GenerationError):
    """An input could not be read, or the finished image could not be stored."""

    code = "storage_failed"
    retryable = True


class InputUnavailable(GenerationError):
    """An input image of the job was deleted, has expired, or is not an image."""

    code = "input_unavailable"


class PostprocessFailed(GenerationError):
    """The image was generated but could not be postprocessed."""

    code = "postprocess_failed"


class AttemptTimeout(GenerationError):
    """The attempt exceeded its maximum time."""

    code = "attempt_timeout"


class WorkerStalled(GenerationError):
    """The device made no progress."""

    code = "worker_stalled"
    retryable = True


class PoisonJob(GenerationError):
    """The job crashed every worker that executed it, so it is not retried."""

    code = "poison_job"


class ContentPolicyViolation(GenerationError):
    """The provider's moderation refuses the prompt or the image."""

    status = 400
    type = "invalid_request_error"
    code = "content_policy_violation"


class ProviderRefused(GenerationError):
    """The provider does not accept the request."""

    status = 400
    type = "invalid_request_error"
    code = "provider_refused"


class ProviderAuthentication(GenerationError):
    """The provider does not accept the API key of this server; the operator must set another one."""

    code = "provider_authentication"


class ProviderQuotaExhausted(GenerationError):
    """The operator's account at the provider has no credit left or has reached its spending limit."""

    code = "provider_insufficient_quota"


class ProviderUnavailable(GenerationError):
    """The provider cannot be reached or reported a failure; no image was generated."""

    code = "provider_unavailable"
    retryable = True


class ProviderRateLimited(GenerationError):
    """The provider limits the rate of calls; the job waits as long as required, and the attempt is not counted."""

    code = "provider_rate_limited"
    retryable = True


class ProviderPaused(GenerationError):
    """The provider's last calls all failed; the job waits until calls succeed, and the attempt is not counted."""

    code = "provider_paused"
    retryable = True


class ProviderMayHaveBilled(GenerationError):
    """The provider may have generated and billed the images, so the call is only repeated on request."""

    code = "provider_may_have_billed"


class ProviderOutcomeUnknown(ProviderMayHaveBilled):
    """The result of the call to the provider is unknown; it is not repeated, because it may be billed twice."""

    code = "provider_outcome_unknown"


class ProviderAnswerUnreadable(ProviderMayHaveBilled):
    """The provider answered, but its answer has no readable image; the call is not repeated."""

    code = "provider_answer_unreadable"


class ProviderAnswerLost(ProviderMayHaveBilled):
    """The provider generated the images, but they were lost before they were stored; the call is not repeated."""

    code = "provider_answer_lost"


def first_line(error: BaseException) -> str:
    """The first line of an error's message. Libraries append statements, parameters and advice."""
    return str(error).strip().partition("\n")[0]


def failure(code: str, message: str) -> GenerationError:
    """The error of a failed job, from its code and message in the database."""
    kinds = [GenerationError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    error = next((kind for kind in kinds if kind.code == code), GenerationError)(message)
    error.code = code
    return error
