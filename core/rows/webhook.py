"""The rows of webhook endpoints, of deliveries and of their attempts."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict
from uuid import UUID


class WebhookJson(TypedDict):
    """A job's or a batch's own webhook."""

    url: str
    events: list[str]
    secret: str | None


@dataclass(slots=True)
class EndpointRow:
    """A webhook endpoint."""

    id: str
    project_id: str
    name: str
    url: str
    event_types: list[str]
    secret: str
    previous_secret: str | None
    previous_secret_until: datetime | None
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(slots=True)
class DeliveryRow:
    """A delivery of an event to a webhook."""

    id: str
    seq: int
    project_id: str
    job_id: str | None
    batch_id: str | None
    endpoint_id: str | None
    destination: str
    event_id: str
    event_type: str
    event_at: datetime
    status: str
    attempts: int
    due_at: datetime
    lease: UUID | None
    status_code: int | None
    error_code: str | None
    created_at: datetime
    finished_at: datetime | None


@dataclass(slots=True)
class ClaimedDelivery(DeliveryRow):
    """A delivery with what sending it needs: the columns of its endpoint, or the webhook of its job or batch."""

    lease: UUID
    endpoint_url: str | None
    endpoint_secret: str | None
    endpoint_previous_secret: str | None
    endpoint_previous_secret_until: datetime | None
    webhook: WebhookJson | None
    claimed_at: datetime


@dataclass(slots=True)
class AttemptRow:
    """One attempt at a delivery."""

    delivery_id: str
    number: int
    started_at: datetime
    seconds: float
    status_code: int | None
    error_code: str | None
    answer: str | None
