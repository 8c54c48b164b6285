"""The JSON of jobs, images, events and lists. That of OpenAI's images calls is in `core/responses/openai.py`.

Times are Unix seconds, as at OpenAI. Values that are not known yet are null; values that would be a guess are omitted.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.moderation import Verdict
from core.parameters.control import with_images
from core.parameters.job import ResolvedParameters
from core.parameters.reference_images import ReferenceImage, with_files
from core.redis.progress import Step
from core.responses.reproduction import Reproduces, Reproduction, reproduction_of
from core.rows.job import ImageJson, ImageRow, JobRow
from core.status import JobStatus

SignUrl = Callable[[str, str], str]
"""Creates the link of an image from its id and storage key; see `core.storage.Storage.url`."""


class ErrorBody(BaseModel):
    """An error in OpenAI's format."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    """The body of every response with a status of 400 or above."""

    error: ErrorBody


class JobError(BaseModel):
    """Why a job failed."""

    code: str = Field(description="One of the codes in docs/reference/errors.md.")
    message: str


class ImageObject(BaseModel):
    """A generated image."""

    id: str
    object: Literal["image"] = "image"
    job_id: str
    index: int
    url: str = Field(
        description="Link that works without an API key until it expires. `GET /v1/images/{id}/content` always works."
    )
    media_type: str
    width: int
    height: int
    bytes: int
    sha256: str
    seed: int
    receipt: dict[str, Any] = Field(description="How it was generated: model revision, versions, device, seconds.")
    created_at: int


def is_none(value: object) -> bool:
    """Whether a field has no value; such a field is left out of the JSON (`exclude_if`)."""
    return value is None


class JobInput(BaseModel):
    """An input image of a job. `GET /v1/files/{file_id}/content` returns it."""

    file_id: str


class JobWarning(BaseModel):
    """A warning about a job that is executed all the same."""

    code: str
    message: str
    param: str | None = Field(description="The field of the request that the warning is about.")


class StepProgress(BaseModel):
    """The current denoising step."""

    step: int
    steps: int
    attempt: int


class JobUrls(BaseModel):
    """URLs of the job."""

    self: str
    cancel: str
    events: str


class WebhookOfJob(BaseModel):
    """A webhook without its secret."""

    url: str
    events: list[str]


class JobHead(BaseModel):
    """The first fields of a job."""

    id: str
    object: Literal["job"] = "job"
    status: JobStatus
    operation: str
    model: str
    prompt: str
    n: int


class JobObject(ResolvedParameters, JobHead):
    """A job: a request for n images with its parameters, status, progress and images."""

    model_config = ConfigDict(protected_namespaces=(), extra="ignore", strict=False, frozen=False)

    image: JobInput | None = Field(description="Input image of an edit or a variation.")
    reference_images: list[ReferenceImage] = Field(
        [], description="Further input images of an edit, and the images of IP-Adapters."
    )
    mask: JobInput | None = Field(description="Area that an edit may change. Null: the whole image.")
    priority: int
    metadata: dict[str, str]
    webhook: WebhookOfJob | None = Field(None, description="Webhook for the events of this job.")
    progress: StepProgress | None = Field(None, description="Denoising step of the current attempt, if known.")
    queue_position: int | None = Field(None, description="Number of jobs before this one in its queue, up to 1000.")
    attempts: int
    images: list[ImageObject]
    error: JobError | None
    warnings: list[JobWarning] = Field(
        description="What of the request is not honoured in full; usually empty. Those of the model come at the end."
    )
    moderation: Verdict | None = Field(None, description="The result of moderation, if any check ran.")
    retried_from: str | None
    reproduces: Reproduces | None = Field(
        None, description="What the job draws again; absent if nothing.", exclude_if=is_none
    )
    reproduction: Reproduction | None = Field(
        None, description="The comparison with the originals, once the job is completed.", exclude_if=is_none
    )
    api_key_id: str | None = Field(
        None, description="The API key that submitted the job; absent without one.", exclude_if=is_none
    )
    batch_id: str | None = Field(None, description="Batch that the job belongs to.")
    batch_index: int | None = Field(None, description="Index of the job's line in the batch, from 0.")
    custom_id: str | None = Field(None, description="The `custom_id` of the job's line in the batch.")
    cancel_requested_at: int | None
    created_at: int
    started_at: int | None = Field(description="Start of the latest attempt.")
    finished_at: int | None
    expires_at: int = Field(description="Time at which the job expires if it has not started.")
    urls: JobUrls


class JobList(BaseModel):
    """A page of jobs. Get the next page with `after=<last_id>`."""

    object: Literal["list"] = "list"
    data: list[JobObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Estimate(BaseModel):
    """The response of a dry run."""

    object: Literal["job.estimate"] = "job.estimate"
    model: str
    size: str
    steps: int
    guidance_scale: float
    n: int
    device_seconds: float = Field(
        description="Estimated device time: what the last such images took, or from the catalogue if there are none."
    )
    estimated_finish_at: int | None = Field(
        description="Estimated end if one device generates the images after all queued jobs; null for paid providers."
    )


class Deleted(BaseModel):
    """The response of a deletion."""

    id: str
    object: str
    deleted: Literal[True] = True


class JobEvent(BaseModel):
    """An event of a job: a message of `GET /v1/jobs/{id}/events`."""

    id: str
    object: Literal["event"] = "event"
    type: str
    created_at: int
    data: dict[str, Any]


def seconds(moment: datetime | None) -> int | None:
    """A time as Unix seconds."""
    return None if moment is None else int(moment.timestamp())


_JOB_FIELDS = (
    "id", "status", "operation", "model", "prompt", "n", "metadata", "attempts", "queue_position",
    "retried_from", "api_key_id", "moderation", "batch_id", "batch_index", "custom_id",
)  # fmt: skip


_NO_WORKER = {
    "code": "no_worker",
    "message": "No worker that can run this job is active now. The job waits for one until it expires.",
    "param": None,
}
_QUEUE_PAUSED = {
    "code": "queue_paused",
    "message": "An operator has paused the queue of this job. The job waits until it is resumed, or expires.",
    "param": None,
}
"""Warnings that are not stored: they hold only while the job is queued."""


def job_warnings(row: JobRow) -> list[dict[str, Any]]:
    """The warnings of a job, and why it waits."""
    reasons = ([_QUEUE_PAUSED] if row.is_queue_paused else []) + ([_NO_WORKER] if row.has_worker is False else [])
    return [*row.warnings, *reasons]


def job_object(row: JobRow, base_url: str, sign: SignUrl, step: Step | None = None) -> JobObject:
    """The JSON of a job."""
    current = step if step is not None and step["attempt"] == row.attempts else None
    return JobObject(
        **vars(row.parameters)
        | {
            "control": with_images(row.parameters.control, row.inputs),
            "reference_images": with_files(row.parameters.reference_images, row.inputs),
        },
        **{name: getattr(row, name) for name in _JOB_FIELDS},
        **{"warnings": job_warnings(row)},
        priority=row.requested_priority,
        image=_image(row.inputs.get("image")),
        mask=_image(row.inputs.get("mask")),
        webhook=None if row.webhook is None else WebhookOfJob(url=row.webhook["url"], events=row.webhook["events"]),
        reproduces=None if row.reproduces is None else Reproduces.model_validate(row.reproduces),
        reproduction=reproduction_of(row),
        progress=None if current is None else StepProgress(**current),
        images=[image_object(image, sign) for image in row.images],
        error=None if row.error_code is None else JobError(code=row.error_code, message=row.error_message or ""),
        cancel_requested_at=seconds(row.cancel_requested_at),
        created_at=int(row.created_at.timestamp()),
        started_at=seconds(row.started_at),
        finished_at=seconds(row.finished_at),
        expires_at=int(row.expires_at.timestamp()),
        urls=job_urls(row.id, base_url),
    )


def job_urls(job_id: str, base_url: str) -> JobUrls:
    """The URLs of a job."""
    url = f"{base_url}/v1/jobs/{job_id}"
    return JobUrls(self=url, cancel=f"{url}/cancel", events=f"{url}/events")


def _image(file_id: str | None) -> JobInput | None:
    return None if file_id is None else JobInput(file_id=file_id)


_IMAGE_FIELDS = ("id", "job_id", "index", "media_type", "width", "height", "bytes", "sha256", "seed", "receipt")


def image_object(image: ImageJson, sign: SignUrl) -> ImageObject:
    """The JSON of an image, from the row of its job."""
    values: Mapping[str, Any] = image
    return ImageObject(
        **{name: values[name] for name in _IMAGE_FIELDS},
        url=sign(image["id"], image["storage_key"]),
        created_at=int(datetime.fromisoformat(image["created_at"]).timestamp()),
    )


def image_object_of_row(row: ImageRow, sign: SignUrl) -> ImageObject:
    """The JSON of an image, from its own row."""
    return ImageObject(
        **{name: getattr(row, name) for name in _IMAGE_FIELDS},
        url=sign(row.id, row.storage_key),
        created_at=int(row.created_at.timestamp()),
    )


def job_list(jobs: Sequence[JobObject], has_more: bool) -> JobList:
    """A page of jobs."""
    return JobList(
        data=list(jobs),
        first_id=jobs[0].id if jobs else None,
        last_id=jobs[-1].id if jobs else None,
        has_more=has_more,
    )
