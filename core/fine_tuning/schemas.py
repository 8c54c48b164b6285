"""Fine-tuning jobs, events and checkpoints as JSON, in OpenAI's shapes."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from core.fine_tuning.rows import FineTunedModelRow, FineTuningEventRow, FineTuningJobRow
from core.responses.job import JobWarning, seconds
from core.status import FineTuningStatus


class FineTuningError(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


class HyperparametersObject(BaseModel):
    """The hyperparameters. OpenAI's three are as the request has them until the training file is read."""

    n_epochs: Literal["auto"] | int = "auto"
    batch_size: Literal["auto"] | int = "auto"
    learning_rate_multiplier: Literal["auto"] | float = "auto"
    steps: int | None = None
    learning_rate: float | None = None
    rank: int | None = None
    resolution: int | None = None


class SupervisedMethodObject(BaseModel):
    """The hyperparameters of the method."""

    hyperparameters: HyperparametersObject


class MethodObject(BaseModel):
    """The method."""

    type: Literal["supervised"] = "supervised"
    supervised: SupervisedMethodObject


class FineTuningJobObject(BaseModel):
    """A fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    model: str = Field(description="Id of the base model.")
    created_at: int
    finished_at: int | None
    fine_tuned_model: str | None = Field(description="Name of the new model; null until the job has succeeded.")
    organization_id: str = Field(description="Your project.")
    result_files: list[str] = Field(description="Always empty: the events of the job have the losses.")
    status: FineTuningStatus
    validation_file: str | None
    training_file: str
    hyperparameters: HyperparametersObject
    method: MethodObject
    trained_tokens: int | None = Field(description="Always null: images are no tokens. See `trained_images`.")
    error: FineTuningError | None
    seed: int
    estimated_finish: int | None = Field(description="Estimated end of a running training, in Unix seconds.")
    integrations: list[dict[str, Any]]
    metadata: dict[str, str]
    step: int = Field(description="Steps that are done.")
    total_steps: int | None = Field(description="Steps of the training; null until the training file is read.")
    trained_images: int | None = Field(description="Images of the training file; null until it is read.")
    warnings: list[JobWarning] = Field(description="What of the request is not honoured.")


class FineTuningEventObject(BaseModel):
    """An event of a fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: Literal["info", "warn", "error"]
    type: Literal["message", "metrics"]
    message: str
    data: dict[str, Any] = Field(description="Of `metrics`: step, total_steps, train_loss, learning_rate.")


class CheckpointMetrics(BaseModel):
    """The metrics at a checkpoint."""

    step: int
    train_loss: float | None = None


class CheckpointObject(BaseModel):
    """A checkpoint of a fine-tuning job."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str = Field(description="Name of the model at this step, which requests can have.")
    fine_tuning_job_id: str
    step_number: int
    metrics: CheckpointMetrics


class FineTuningJobList(BaseModel):
    """A page of jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[FineTuningJobObject]
    has_more: bool


class FineTuningEventList(BaseModel):
    """A page of events, newest first."""

    object: Literal["list"] = "list"
    data: list[FineTuningEventObject]
    has_more: bool


class CheckpointList(BaseModel):
    """A page of checkpoints, the last one first."""

    object: Literal["list"] = "list"
    data: list[CheckpointObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def job_object(row: FineTuningJobRow) -> FineTuningJobObject:
    """The JSON of a job."""
    hyperparameters = _hyperparameters(row)
    return FineTuningJobObject(
        id=row.id,
        model=row.model,
        created_at=int(row.created_at.timestamp()),
        finished_at=seconds(row.finished_at),
        fine_tuned_model=row.fine_tuned_model,
        organization_id=row.project_id,
        result_files=[],
        status=FineTuningStatus(row.status),
        validation_file=row.validation_file,
        training_file=row.training_file,
        hyperparameters=hyperparameters,
        method=MethodObject(supervised=SupervisedMethodObject(hyperparameters=hyperparameters)),
        trained_tokens=None,
        error=None if row.error is None else FineTuningError(**row.error),
        seed=row.seed,
        estimated_finish=_estimated_finish(row),
        integrations=[],
        metadata=row.metadata,
        step=row.step,
        total_steps=hyperparameters.steps,
        trained_images=row.images,
        warnings=[JobWarning(**warning) for warning in row.warnings],
    )


def _hyperparameters(row: FineTuningJobRow) -> HyperparametersObject:
    values: dict[str, Any] = {name: value for name, value in row.request["values"].items() if value is not None}
    if row.hyperparameters is not None and row.images:
        actual: Mapping[str, Any] = row.hyperparameters
        epochs = max(1, round(actual["steps"] * actual["batch_size"] / row.images))
        values |= {**actual, "n_epochs": epochs}
    return HyperparametersObject(**values)


def _estimated_finish(row: FineTuningJobRow) -> int | None:
    """By the seconds of a step in the catalogue when the training began."""
    if row.status != FineTuningStatus.RUNNING or row.hyperparameters is None or row.started_at is None:
        return None
    seconds_per_step = row.hyperparameters.get("seconds_per_step", 0.0)
    return int(row.started_at.timestamp() + row.hyperparameters["steps"] * seconds_per_step)


def event_object(row: FineTuningEventRow) -> FineTuningEventObject:
    """The JSON of an event."""
    return FineTuningEventObject.model_validate(
        {
            "id": row.id,
            "created_at": int(row.created_at.timestamp()),
            "level": row.level,
            "type": row.type,
            "message": row.message,
            "data": dict(row.data),
        }
    )


def checkpoint_object(row: FineTunedModelRow) -> CheckpointObject:
    """The JSON of a checkpoint."""
    return CheckpointObject(
        id=row.checkpoint_id or "",
        created_at=int(row.created_at.timestamp()),
        fine_tuned_model_checkpoint=row.id,
        fine_tuning_job_id=row.fine_tuning_job_id,
        step_number=row.step,
        metrics=CheckpointMetrics(step=row.step, train_loss=row.metrics.get("train_loss")),
    )


def checkpoint_list(rows: Sequence[FineTunedModelRow], has_more: bool) -> CheckpointList:
    """A page of checkpoints."""
    page = [checkpoint_object(row) for row in rows]
    return CheckpointList(
        data=page, first_id=page[0].id if page else None, last_id=page[-1].id if page else None, has_more=has_more
    )
