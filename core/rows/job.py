"""The rows that statements return: what `Database.execute` makes of them, so that a misspelt column is a type error.

A class has a field for each column of its table; fields with a default are columns that only some statements add. The
database layer compares names when a statement runs first and raises TypeError where they differ (`core/db.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from core.parameters.job import Operation, ResolvedParameters
from core.rows.webhook import WebhookJson

Json = Mapping[str, Any]


class ImageJson(TypedDict):
    """An image of a job, as Postgres makes JSON of its row."""

    id: str
    job_id: str
    project_id: str
    index: int
    seed: int
    storage_key: str
    media_type: str
    width: int
    height: int
    bytes: int
    sha256: str
    receipt: dict[str, Any]
    created_at: str  # ISO 8601
    reproduction: dict[str, Any] | None


@dataclass(slots=True)
class JobRow:
    """A job. `images` and the fields behind it come with `core.queries`, not with the verbs."""

    id: str
    project_id: str
    status: str
    version: int
    operation: Operation
    model: str
    prompt: str
    n: int
    parameters: ResolvedParameters
    inputs: Mapping[str, str]
    metadata: dict[str, str]
    webhook: WebhookJson | None
    retried_from: str | None
    reproduces: Json | None
    api_key_id: str | None
    request_id: str | None
    traceparent: str | None
    provider_usd: float | None
    batch_id: str | None
    batch_index: int | None
    custom_id: str | None
    response_format: str | None
    queue: str
    microbatch_key: str
    microbatch_size: int
    priority: int
    project_priority: int
    cost: float
    fair_rank: float
    precedence: int
    not_before: datetime
    expires_at: datetime
    lease: UUID | None
    lease_expires_at: datetime | None
    attempt_deadline: datetime | None
    worker: str | None
    attempts: int
    failures: int
    crashes: int
    max_attempts: int
    cancel_requested_at: datetime | None
    error_code: str | None
    error_message: str | None
    warnings: list[dict[str, Any]]
    moderation: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    images: Sequence[ImageJson] = ()
    queue_position: int | None = None
    has_worker: bool | None = None  # whether a worker serves its queue; None: it is not queued
    is_queue_paused: bool | None = None  # by an operator; None: it is not queued

    @property
    def requested_priority(self) -> int:
        """The priority of the request, which `core.priorities` divided."""
        return self.priority + self.project_priority

    @property
    def log_ids(self) -> dict[str, str | None]:
        """The ids for log lines about it; see `core.telemetry.logs`."""
        batch = {"batch_id": self.batch_id, "project_id": self.project_id}
        return {"request_id": self.request_id, "job_id": self.id, **batch}

    def __post_init__(self) -> None:
        stored: Any = self.parameters
        if not isinstance(stored, ResolvedParameters):
            self.parameters = ResolvedParameters.load(stored)


@dataclass(slots=True)
class EndedJob:
    """What is counted of a job whose attempt has ended."""

    id: str
    status: str
    model: str
    error_code: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(slots=True)
class BatchJobRow(JobRow):
    """A job that is a line of a batch."""

    batch_id: str
    batch_index: int
    custom_id: str
    response_format: str


@dataclass(slots=True)
class SearchRow:
    """A job that a search has read. is_end: it is the last one that was read, not a hit."""

    id: str
    is_end: bool


@dataclass(slots=True)
class JobVersion:
    """How often a job has changed."""

    id: str
    version: int


@dataclass(slots=True)
class LeasedJob:
    """A job under a lease, and since when its owner wants it to stop."""

    id: str
    cancel_requested_at: datetime | None


@dataclass(slots=True)
class JobEventRow:
    """An event of a job."""

    seq: int
    id: str
    job_id: str
    type: str
    data: Json
    created_at: datetime


@dataclass(slots=True)
class ImageRow:
    """An image."""

    id: str
    job_id: str
    project_id: str
    index: int
    seed: int
    storage_key: str
    media_type: str
    width: int
    height: int
    bytes: int
    sha256: str
    receipt: dict[str, Any]
    created_at: datetime
    reproduction: Json | None


@dataclass(slots=True)
class MeasuredRow:
    """What an image of a kind took on the device, in seconds; None: its receipts do not say."""

    model: str
    operation: str
    size: str
    steps: int
    images: int  # of the micro-batch
    seconds: float | None


@dataclass(slots=True)
class OldJob:
    """A job past retention, and where its images lie."""

    id: str
    storage_keys: Sequence[str]


@dataclass(slots=True)
class StoredResponse:
    """What is stored under an idempotency key."""

    fingerprint: bytes
    response: Json


@dataclass(slots=True)
class AbandonedCall:
    """A provider call whose outcome nobody knows."""

    id: str
    job_id: str


@dataclass(slots=True)
class PaidImages:
    """The images of a job that are not in storage yet, as PNG files, and the provider's part of their receipts."""

    images: Sequence[bytes]
    receipt: Json


@dataclass(slots=True)
class Preflight:
    """Everything the check before a provider call needs; see `core.provider_calls.preflight`."""

    is_cancelled: bool
    earlier_outcome: str | None
    limited_for: float | None
    recent: Sequence[Json] | None
    under_way: int


@dataclass(slots=True)
class ImageCost:
    """What an image of a model has recently cost, in US dollars; None: not known."""

    usd: float | None


@dataclass(slots=True)
class UsageRow:
    """What a provider counted for a job."""

    usage: Json
