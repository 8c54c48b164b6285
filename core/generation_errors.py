"""Why a job failed: the errors that become the `error` of a job. `core/errors.py` has those of requests.

GenerationError
├── OutOfMemory
├── GeneratorFailed              retryable
├── DeviceFailed                 retryable: the device is broken, not the job; the attempt is not counted
├── ModelUnavailable             retryable: another worker may have it
├── StorageFailed                retryable
├── InputUnavailable             a file that the job needs no longer exists
├── TrainingFailed, InvalidTrainingFile  of fine-tuning jobs
├── PostprocessFailed
├── AttemptTimeout
├── WorkerStalled                retryable
├── PoisonJob
├── ContentPolicyViolation       a moderation check, a safety checker or the provider rejects it
├── ModerationUnavailable        retryable
├── ProviderRefused, ProviderAuthentication, ProviderQuotaExhausted
├── ProviderUnavailable          retryable: nothing was generated
├── ProviderRateLimited, ProviderPaused  the job waits; the attempt is not counted
└── ProviderMayHaveBilled        retryable only if the operator allows it
    └── ProviderOutcomeUnknown, ProviderAnswerUnreadable, ProviderAnswerLost
"""

from core.errors import SafelightError
from core.moderation import Verdict
from core.telemetry.redaction import redact
from core.text import storable


class GenerationError(SafelightError):
    """The image could not be generated."""

    code = "generation_failed"

    def __init__(self, message: str | None = None, *, param: str | None = None) -> None:
        """The owner of the job sees `message`, without what `redact` removes. `detail` is for the log."""
        super().__init__(message, param=param)
        self.detail = self.message
        self.message = storable(redact(self.message))


class OutOfMemory(GenerationError):
    """The device has too little memory for one image of this size."""

    code = "out_of_memory"


class GeneratorFailed(GenerationError):
    """The model failed during generation."""

    code = "generator_failed"
    retryable = True


class DeviceFailed(GenerationError):
    """The device of the worker is broken: its driver, its memory or its connection; the attempt is not counted."""

    code = "device_failed"
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


class TrainingFailed(GenerationError):
    """The training ended several times without an error of its own: its worker was killed, or lost its connections."""

    code = "training_failed"


class InvalidTrainingFile(GenerationError):
    """The training file was deleted, cannot be read, or has invalid lines."""

    code = "invalid_training_file"


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
    """The prompt or an image was rejected by a moderation check, the model's safety checker or the provider."""

    status = 400
    type = "invalid_request_error"
    code = "content_policy_violation"

    def __init__(self, message: str | None = None, *, verdict: Verdict | None = None) -> None:
        """verdict: None if the model or the provider rejected it."""
        super().__init__(message)
        self.verdict = verdict


class ModerationUnavailable(GenerationError):
    """A moderation check did not answer, so nothing was generated or shown."""

    code = "moderation_unavailable"
    retryable = True


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


def failure(code: str, message: str) -> GenerationError:
    """The error of a failed job, from its code and message in the database."""
    kinds = [GenerationError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    error = next((kind for kind in kinds if kind.code == code), GenerationError)(message)
    error.code = code
    return error
