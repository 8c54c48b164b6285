"""Client of Safelight, a self-hosted, asynchronous image-generation service.

`Safelight` is the synchronous client, `AsyncSafelight` the asynchronous one, with the same methods:

    from safelight_client import Safelight

    with Safelight() as client:
        job = client.jobs.create(prompt="a cat")
        job.wait().images[0].save("cat.png")
"""

from safelight_client.asynchronous.batches import AsyncBatch, AsyncBatchEvent
from safelight_client.asynchronous.client import AsyncSafelight
from safelight_client.asynchronous.images import AsyncImage
from safelight_client.asynchronous.jobs import AsyncJob, AsyncJobEvent
from safelight_client.errors import (
    APIError,
    AuthenticationFailed,
    BadRequest,
    BatchFailed,
    ConfigurationError,
    Conflict,
    ConnectionFailed,
    DownloadDamaged,
    InvalidKey,
    JobFailed,
    NotFound,
    PermissionDenied,
    SafelightError,
    ServerError,
    SignatureInvalid,
    TooManyRequests,
    UnexpectedResponse,
    WaitTimeout,
)
from safelight_client.event_stream import Preview
from safelight_client.synchronous.batches import Batch, BatchEvent
from safelight_client.synchronous.client import Safelight
from safelight_client.synchronous.images import Image
from safelight_client.synchronous.jobs import Job, JobEvent
from safelight_client.version import VERSION as __version__
from safelight_client.webhook_signature import unwrap

__all__ = [
    "APIError",
    "AsyncBatch",
    "AsyncBatchEvent",
    "AsyncImage",
    "AsyncJob",
    "AsyncJobEvent",
    "AsyncSafelight",
    "AuthenticationFailed",
    "BadRequest",
    "Batch",
    "BatchEvent",
    "BatchFailed",
    "ConfigurationError",
    "Conflict",
    "ConnectionFailed",
    "DownloadDamaged",
    "Image",
    "InvalidKey",
    "Job",
    "JobEvent",
    "JobFailed",
    "NotFound",
    "PermissionDenied",
    "Preview",
    "Safelight",
    "SafelightError",
    "ServerError",
    "SignatureInvalid",
    "TooManyRequests",
    "UnexpectedResponse",
    "WaitTimeout",
    "__version__",
    "unwrap",
]
