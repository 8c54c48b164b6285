"""The JSON of the nouns: job, image, file, event, list. OpenAI's images calls are in `api/openai/images.py`.

Times are Unix seconds, as OpenAI's are. What is not known yet is null; what could only be guessed is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.parameters import ResolvedParameters
from core.redis.progress import Step
from core.rows import FileRow, ImageJson, ImageRow, JobRow
from core.status import JobStatus

SignUrl = Callable[[str, str], str]
"""Makes an image's link from its id and storage key; see `core.storage.Storage.url`."""


class ErrorBody(BaseModel):
    """Why something failed, in OpenAI's shape."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(BaseModel):
    """The body of every answer of 400 and above."""

    error: ErrorBody


class JobError(BaseModel):
    """Why a job failed."""

    code: str = Field(description="One of the codes in docs/reference/errors.md.")
    message: str


class ImageObject(BaseModel):
    """One image."""

    id: str
    object: Literal["image"] = "image"
    job_id: str
    index: int
    url: str = Field(description="Works without a key until it expires; `GET /v1/images/{id}/content` always works.")
    media_type: str
    width: int
    height: int
    bytes: int
    sha256: str
    seed: int
    receipt: dict[str, Any] = Field(description="What drew it: model revision, versions, device, seconds.")
    created_at: int


class JobInput(BaseModel):
    """An image that a job begins with; `GET /v1/files/{file_id}/content` shows it."""

    file_id: str


class JobWarning(BaseModel):
    """Something to know about a job that is done all the same."""

    code: str
    message: str
    param: str | None = Field(description="The field of the request that it is about.")


class StepProgress(BaseModel):
    """How far the drawing is."""

    step: int
    steps: int
    attempt: int


class JobUrls(BaseModel):
    """Where to go from here."""

    self: str
    cancel: str
    events: str


class WebhookOfJob(BaseModel):
    """A receiver of one job's events; its secret is not shown."""

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
    """A request for n images: its parameters, its state, its progress and its images."""

    model_config = ConfigDict(protected_namespaces=(), extra="ignore", strict=False, frozen=False)

    image: JobInput | None = Field(description="Input of an edit or a variation.")
    mask: JobInput | None = Field(description="Area that an edit may change; null: all of it.")
    priority: int
    metadata: dict[str, str]
    webhook: WebhookOfJob | None = Field(None, description="The job's own webhook.")
    progress: StepProgress | None = Field(None, description="Denoising step of the current attempt, if known.")
    queue_position: int | None = Field(None, description="Jobs before this one in its queue; counted up to 1000.")
    attempts: int
    images: list[ImageObject]
    error: JobError | None
    warnings: list[JobWarning] = Field(description="Known when the job is completed; usually empty.")
    retried_from: str | None
    batch_id: str | None = Field(None, description="The batch of which the job is a line.")
    batch_index: int | None = Field(None, description="Index of the line, from 0.")
    custom_id: str | None = Field(None, description="Name of the line.")
    cancel_requested_at: int | None
    created_at: int
    started_at: int | None = Field(description="Start of the latest attempt.")
    finished_at: int | None
    expires_at: int = Field(description="The job expires then, if it has not started.")
    urls: JobUrls


class JobList(BaseModel):
    """A page of jobs. Ask for the next with `after=<last_id>`."""

    object: Literal["list"] = "list"
    data: list[JobObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Estimate(BaseModel):
    """What a dry run answers."""

    object: Literal["job.estimate"] = "job.estimate"
    model: str
    size: str
    steps: int
    guidance_scale: float
    n: int
    device_seconds: float = Field(description="Estimated device time, from the catalogue's figure.")


class FileObject(BaseModel):
    """A file of a project, in OpenAI's shape."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = Field(description="It is deleted then; null: when you delete it.")
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: str | None = None


class FileList(BaseModel):
    """A page of files. Ask for the next with `after=<last_id>`."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(BaseModel):
    """Something was deleted."""

    id: str
    object: str
    deleted: Literal[True] = True


class JobEvent(BaseModel):
    """A fact about a job, as an SSE message of `GET /v1/jobs/{id}/events`."""

    id: str
    object: Literal["event"] = "event"
    type: str
    created_at: int
    data: dict[str, Any]


def seconds(moment: datetime | None) -> int | None:
    """A moment as Unix seconds."""
    return None if moment is None else int(moment.timestamp())


_JOB_FIELDS = (
    "id", "status", "operation", "model", "prompt", "n", "priority", "metadata", "attempts", "queue_position",
    "retried_from", "warnings", "batch_id", "batch_index", "custom_id",
)  # fmt: skip


def job_object(row: JobRow, base_url: str, sign: SignUrl, step: Step | None = None) -> JobObject:
    """A job as the API shows it."""
    self_url = f"{base_url}/v1/jobs/{row.id}"
    current = step if step is not None and step["attempt"] == row.attempts else None
    return JobObject(
        **vars(row.parameters),
        **{name: getattr(row, name) for name in _JOB_FIELDS},
        image=_image(row.inputs.get("image")),
        mask=_image(row.inputs.get("mask")),
        webhook=None if row.webhook is None else WebhookOfJob(url=row.webhook["url"], events=row.webhook["events"]),
        progress=None if current is None else StepProgress(**current),
        images=[image_object(image, sign) for image in row.images],
        error=None if row.error_code is None else JobError(code=row.error_code, message=row.error_message or ""),
        cancel_requested_at=seconds(row.cancel_requested_at),
        created_at=int(row.created_at.timestamp()),
        started_at=seconds(row.started_at),
        finished_at=seconds(row.finished_at),
        expires_at=int(row.expires_at.timestamp()),
        urls=JobUrls(self=self_url, cancel=f"{self_url}/cancel", events=f"{self_url}/events"),
    )


def _image(file_id: str | None) -> JobInput | None:
    return None if file_id is None else JobInput(file_id=file_id)


_IMAGE_FIELDS = ("id", "job_id", "index", "media_type", "width", "height", "bytes", "sha256", "seed", "receipt")


def image_object(image: ImageJson, sign: SignUrl) -> ImageObject:
    """An image as the API shows it, from the JSON that comes with its job."""
    values: Mapping[str, Any] = image
    return ImageObject(
        **{name: values[name] for name in _IMAGE_FIELDS},
        url=sign(image["id"], image["storage_key"]),
        created_at=int(datetime.fromisoformat(image["created_at"]).timestamp()),
    )


def image_object_of_row(row: ImageRow, sign: SignUrl) -> ImageObject:
    """An image as the API shows it, from its row."""
    return ImageObject(
        **{name: getattr(row, name) for name in _IMAGE_FIELDS},
        url=sign(row.id, row.storage_key),
        created_at=int(row.created_at.timestamp()),
    )


def file_object(row: FileRow) -> FileObject:
    """A file as the API shows it."""
    return FileObject(
        id=row.id,
        bytes=row.bytes,
        created_at=int(row.created_at.timestamp()),
        expires_at=seconds(row.expires_at),
        filename=row.filename,
        purpose=row.purpose,
    )


def job_list(jobs: Sequence[JobObject], has_more: bool) -> JobList:
    """A page of jobs."""
    return JobList(
        data=list(jobs),
        first_id=jobs[0].id if jobs else None,
        last_id=jobs[-1].id if jobs else None,
        has_more=has_more,
    )
