"""The error catalogue: every way in which Safelight says no, its code, its HTTP status, and whether trying again helps.

    SafelightError
    ├── InvalidRequest              400  the request is wrong; nothing was stored
    │   ├── InvalidJSON
    │   ├── InvalidParameter             a known field with a value that is not allowed
    │   ├── UnknownParameter
    │   ├── MissingParameter
    │   ├── DuplicateCustomId            two lines of a batch have the same name
    │   └── ModelNotFound
    ├── Unauthorized                401
    ├── NotFound                    404  also for what belongs to another project
    ├── MethodNotAllowed            405
    ├── JobNotFinal                 409
    ├── JobNotRetryable             409
    ├── BatchNotFinal               409
    ├── BatchNotRetryable           409
    ├── IdempotencyConflict         409  the same key is being worked on
    ├── RequestTooLarge             413
    ├── IdempotencyMismatch         422  the same key came with another request
    ├── TooManyBatches              429
    ├── QueueFull                   429  too many jobs wait for a synchronous call to have a chance
    ├── RequestTimeout              504  a synchronous call ran out of patience; the job goes on
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
        ├── InputUnavailable             a file that the job needs is gone
        ├── PostprocessFailed
        ├── AttemptTimeout
        ├── WorkerStalled                retryable
        ├── PoisonJob
        ├── ContentPolicyViolation           the provider's refusals
        ├── ProviderRefused
        ├── ProviderAuthentication
        ├── ProviderQuotaExhausted
        ├── ProviderUnavailable          retryable: nothing was drawn
        ├── ProviderRateLimited          waits, at no cost of an attempt
        ├── ProviderPaused               waits, at no cost of an attempt
        └── ProviderMayHaveBilled            retryable only if the operator says so
            ├── ProviderOutcomeUnknown
            ├── ProviderAnswerUnreadable
            └── ProviderAnswerLost

A message left out is the class's docstring. The API renders the catalogue in OpenAI's shape (`api/errors.py`).
"""

from typing import ClassVar


class SafelightError(Exception):
    """Something went wrong."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: str = "internal_error"
    retryable: ClassVar[bool] = False
    retry_after: ClassVar[float] = 1.0
    """Seconds after which trying again makes sense, where it does."""

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
    """The request carries a parameter that is not known."""

    code = "unknown_parameter"


class MissingParameter(InvalidRequest):
    """A required parameter is missing."""

    code = "missing_required_parameter"


class DuplicateCustomId(InvalidParameter):
    """Two lines of a batch have the same name."""

    code = "duplicate_custom_id"


class ModelNotFound(InvalidRequest):
    """The model is not in the catalogue."""

    code = "model_not_found"


class Unauthorized(SafelightError):
    """The API key is missing or not valid. Send it as `Authorization: Bearer sl_...`."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class NotFound(SafelightError):
    """There is nothing at this address."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class MethodNotAllowed(SafelightError):
    """This address does not take this method."""

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
    """Every line of the batch completed, or none of them ever ran; there is nothing to try again."""

    status = 409
    type = "invalid_request_error"
    code = "batch_not_retryable"


class IdempotencyConflict(SafelightError):
    """A request with this Idempotency-Key is being worked on; try again in a second."""

    status = 409
    type = "idempotency_error"
    code = "idempotency_key_in_use"
    retryable = True


class IdempotencyMismatch(SafelightError):
    """This Idempotency-Key was used before with another request."""

    status = 422
    type = "idempotency_error"
    code = "idempotency_key_reused"


class RequestTooLarge(SafelightError):
    """The request body is too large."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class TooManyBatches(SafelightError):
    """Too many batches of this project are under way; nothing was stored, try again when one has ended."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_batches"
    retryable = True
    retry_after = 60.0


class QueueFull(SafelightError):
    """Too many jobs wait for a synchronous call to be answered in time; nothing was stored, try again later."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"
    retryable = True
    retry_after = 5.0


class RequestTimeout(SafelightError):
    """The image was not ready in time; the job goes on and can be fetched by its id."""

    status = 504
    type = "server_error"
    code = "timeout"


class QueryTimeout(SafelightError):
    """The database cancelled the query because it took too long; narrow the filter or ask for fewer rows."""

    status = 503
    type = "server_error"
    code = "query_timeout"


class Unavailable(SafelightError):
    """Safelight cannot answer at the moment; try again."""

    status = 503
    type = "server_error"
    code = "service_unavailable"
    retryable = True


class DatabaseUnavailable(Unavailable):
    """The database does not answer; nothing was stored, try again."""

    code = "database_unavailable"


class StorageUnavailable(Unavailable):
    """The image store does not answer; try again."""

    code = "storage_unavailable"


class InternalError(SafelightError):
    """Something went wrong on our side; the request id helps to find it in the log."""


class GenerationError(SafelightError):
    """The image could not be made."""

    code = "generation_failed"


class OutOfMemory(GenerationError):
    """The device has too little memory for one image of this size."""

    code = "out_of_memory"


class GeneratorFailed(GenerationError):
    """The model failed while drawing."""

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
    """An input image of the job was deleted, has expired, or is no image."""

    code = "input_unavailable"


class PostprocessFailed(GenerationError):
    """The image was drawn but could not be postprocessed."""

    code = "postprocess_failed"


class AttemptTimeout(GenerationError):
    """The attempt took longer than an attempt may take."""

    code = "attempt_timeout"


class WorkerStalled(GenerationError):
    """The device made no progress."""

    code = "worker_stalled"
    retryable = True


class PoisonJob(GenerationError):
    """The job took down every worker that tried it, so it is not tried again."""

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
    """The provider does not accept the API key of this server; its operator must set another one."""

    code = "provider_authentication"


class ProviderQuotaExhausted(GenerationError):
    """The account at the provider has no credit left, or has reached its limit of spending; see to it there."""

    code = "provider_insufficient_quota"


class ProviderUnavailable(GenerationError):
    """The provider cannot be reached or says that it failed; nothing was drawn."""

    code = "provider_unavailable"
    retryable = True


class ProviderRateLimited(GenerationError):
    """The provider wants fewer calls; the job waits as long as it says and loses no attempt."""

    code = "provider_rate_limited"
    retryable = True


class ProviderPaused(GenerationError):
    """The provider's last calls all failed; the job waits until it works again and loses no attempt."""

    code = "provider_paused"
    retryable = True


class ProviderMayHaveBilled(GenerationError):
    """The provider may have drawn and billed, so it is not asked again unless the operator or the owner says so."""

    code = "provider_may_have_billed"


class ProviderOutcomeUnknown(ProviderMayHaveBilled):
    """The provider was asked and nobody knows what came of it; it is not asked again, as that may be billed twice."""

    code = "provider_outcome_unknown"


class ProviderAnswerUnreadable(ProviderMayHaveBilled):
    """The provider answered, but no image can be made of its answer; it is not asked again."""

    code = "provider_answer_unreadable"


class ProviderAnswerLost(ProviderMayHaveBilled):
    """The provider drew the images, but they were lost before they were stored; it is not asked again."""

    code = "provider_answer_lost"


def first_line(error: BaseException) -> str:
    """The first line of an error's message. Libraries add statements, parameters and advice below it."""
    return str(error).strip().partition("\n")[0]


def failure(code: str, message: str) -> GenerationError:
    """Why a job failed, from what the database keeps of it."""
    kinds = [GenerationError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    error = next((kind for kind in kinds if kind.code == code), GenerationError)(message)
    error.code = code
    return error
