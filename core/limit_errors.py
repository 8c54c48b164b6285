"""The errors of requests that exceed a limit: status 429. Nothing was stored.

SafelightError                       core/errors.py
├── RateLimitExceeded                too many requests per minute
├── InsufficientQuota                a quota per day or month is used; a retry does not help
├── QueueFull                        a synchronous call could not be answered in time
├── TooManyJobs, TooManyBatches (TooManyFineTuningJobs)
└── TooManyUploads, TooManyOpenRequests, TooManyWebhookTests
"""

from core.errors import SafelightError


class RateLimitExceeded(SafelightError):
    """The project or API key has sent its maximum number of requests per minute; nothing was stored."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    retryable = True


class InsufficientQuota(SafelightError):
    """The project or API key has used its quota; nothing was stored."""

    status = 429
    type = "insufficient_quota"
    code = "insufficient_quota"


class QueueFull(SafelightError):
    """Too many jobs are queued to answer a synchronous call in time; nothing was stored, try again later."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"
    retryable = True
    retry_after = 5.0


class TooManyJobs(SafelightError):
    """The project or API key has its maximum number of jobs queued and running; nothing was stored."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_jobs"
    retryable = True
    retry_after = 5.0


class TooManyBatches(SafelightError):
    """This project has too many unfinished batches; nothing was stored, try again when one has finished."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_batches"
    retryable = True
    retry_after = 60.0


class TooManyFineTuningJobs(TooManyBatches):
    """This project has too many unfinished fine-tuning jobs; nothing was stored, try again when one has finished."""

    code = "too_many_fine_tuning_jobs"


class TooManyUploads(SafelightError):
    """Too many forms or batches are being read at once; nothing was stored, try again."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_uploads"
    retryable = True


class TooManyOpenRequests(SafelightError):
    """The project has its maximum number of requests in progress; nothing was stored, try again."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_open_requests"
    retryable = True


class TooManyWebhookTests(SafelightError):
    """This project has two tests of webhook endpoints in progress; try again when one of them has ended."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_webhook_tests"
    retryable = True
    retry_after = 5.0
