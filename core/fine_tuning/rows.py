"""The rows of fine-tuning jobs, their events and models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from core.job_warnings import JobWarning


@dataclass(slots=True)
class FineTuningJobRow:
    """A fine-tuning job."""

    id: str
    project_id: str
    api_key_id: str | None
    status: str
    model: str
    training_file: str
    validation_file: str | None
    suffix: str | None
    seed: int
    request: Mapping[str, Any]  # values: the hyperparameters; param: where the request has them
    metadata: dict[str, str]
    warnings: Sequence[JobWarning]
    hyperparameters: Mapping[str, Any] | None
    images: int | None
    step: int
    state_key: str | None
    state_step: int | None
    lease: UUID | None
    lease_expires_at: datetime | None
    worker: str | None
    attempts: int
    cost: float | None
    device_seconds: float
    counted_until: datetime | None
    fine_tuned_model: str | None
    error: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(slots=True)
class FineTuningEventRow:
    """An event of a fine-tuning job."""

    seq: int
    id: str
    fine_tuning_job_id: str
    project_id: str
    level: str
    type: str
    message: str
    data: Mapping[str, Any]
    created_at: datetime


@dataclass(slots=True)
class FineTunedModelRow:
    """A model that a fine-tuning job made, at its end or at a checkpoint."""

    id: str
    project_id: str
    fine_tuning_job_id: str
    model: str
    checkpoint_id: str | None
    step: int
    metrics: Mapping[str, float]
    storage_key: str
    bytes: int
    sha256: str
    created_at: datetime
