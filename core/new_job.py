"""A job before it is submitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from core.job_warnings import JobWarning
from core.parameters.job import ResolvedParameters


@dataclass(frozen=True, slots=True)
class NewJob:
    """A validated request for n images, ready to be submitted. Built by `core.requests.plan`."""

    id: str
    project_id: str
    operation: str
    model: str
    prompt: str
    n: int
    parameters: ResolvedParameters
    queue: str
    microbatch_key: str
    microbatch_size: int
    priority: int
    cost: float  # device-seconds
    max_attempts: int
    ttl: timedelta  # maximum time in the queue
    inputs: Mapping[str, str] = field(default_factory=dict)  # ids of files: image, mask
    project_priority: int = 0  # within the project, beyond `priority`
    retried_from: str | None = None
    reproduces: Mapping[str, Any] | None = None  # job_id, image_ids
    api_key_id: str | None = None
    provider_usd: float | None = None  # estimated price; None: no provider
    metadata: Mapping[str, str] = field(default_factory=dict)
    webhook: Mapping[str, Any] | None = None  # of this job: url, events, secret
    request_id: str | None = None  # of the HTTP request that submitted it
    traceparent: str | None = None  # of that request; None: no tracing
    warnings: Sequence[JobWarning] = ()
