"""The rows of batches; see `core.rows.job`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from core.rows.job import Json
from core.rows.webhook import WebhookJson


@dataclass(slots=True)
class BatchRow:
    """A batch."""

    id: str
    project_id: str
    status: str
    version: int
    endpoint: str
    input_file_id: str | None
    parameters: Json
    response_format: str
    completion_window: timedelta
    output_ttl: timedelta | None
    metadata: dict[str, str]
    webhook: WebhookJson | None
    retried_from: str | None
    api_key_id: str | None
    input: Json
    traceparent: str | None
    total: int
    model: str | None
    cost: float
    errors: list[dict[str, Any]] | None
    lease: UUID | None
    lease_expires_at: datetime | None
    attempts: int
    counts: Mapping[str, int] | None
    output_file_id: str | None
    error_file_id: str | None
    created_at: datetime
    expires_at: datetime
    failed_at: datetime | None
    in_progress_at: datetime | None
    cancelling_at: datetime | None
    finalizing_at: datetime | None
    completed_at: datetime | None
    expired_at: datetime | None
    cancelled_at: datetime | None


@dataclass(slots=True)
class ShownBatch(BatchRow):
    """A batch as it is now: its counts, and while it runs how many jobs ended within the rate window."""

    counts: Mapping[str, int]
    finished_recently: int | None
    now: datetime


@dataclass(slots=True)
class ClaimedBatch(BatchRow):
    """A batch that the batch processor holds."""

    lease: UUID
    lease_expires_at: datetime


@dataclass(slots=True)
class BatchEventRow:
    """An event of a batch."""

    seq: int
    id: str
    batch_id: str
    type: str
    data: Json
    created_at: datetime


@dataclass(slots=True)
class StatusCount:
    """How many jobs have a status."""

    status: str
    jobs: int
