"""The rows of statements about usage and limits; see `core/rows/job.py`."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(slots=True)
class UsageBucket:
    """What was used within a time. A dimension that was not grouped by is null."""

    started_at: datetime
    project_id: str | None
    api_key_id: str | None
    model: str | None
    operation: str | None
    size: str | None
    jobs: int
    images: int
    bytes: int
    device_seconds: float
    cost_usd: float


@dataclass(slots=True)
class LimitRow:
    """The limits of a project or key; null: that of the settings, negative: none."""

    subject_id: str
    requests_per_minute: int | None
    jobs: int | None
    stored_bytes: int | None
    device_seconds_per_day: float | None
    provider_usd_per_month: float | None
    running_jobs: int | None = None
    images_per_minute: int | None = None


@dataclass(slots=True)
class LimitUse:
    """What of its limits a project or key uses or has reserved."""

    subject_id: str
    project_id: str
    day: date
    jobs: int
    stored_bytes: int
    device_seconds: float
    provider_usd: float
    counted_at: datetime
