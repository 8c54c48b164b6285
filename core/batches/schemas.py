"""The JSON of a batch (OpenAI's object with additional fields), of a list of batches, and of a dry run."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from core.batches.queries import RATE_WINDOW
from core.responses.job import WebhookOfJob, is_none, seconds
from core.rows.batch import ShownBatch
from core.status import BatchStatus, JobStatus

MIN_LINES_FOR_RATE = 3
"""Minimum number of recently finished jobs for an estimate of the end."""

TIMES = (
    "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at",
    "cancelled_at",
)  # fmt: skip


class RequestCounts(BaseModel):
    """The number of lines by status. The last six always add up to `total`."""

    total: int = Field(description="Number of lines; 0 until all of them are validated.")
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    queued: int = 0
    in_progress: int = 0


class BatchError(BaseModel):
    """An error in a line."""

    line: int | None = Field(description="Line number, from 1; null if the error is not about a single line.")
    code: str
    param: str | None
    message: str


class BatchErrors(BaseModel):
    """The errors, up to a maximum number."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class BatchProgress(BaseModel):
    """The rate of a batch. The fields are null while there is too little data."""

    lines_per_second: float | None = Field(description="Finished lines per second, over the last minute.")
    estimated_finish_at: int | None = Field(description="Estimated end at this rate.")


class InputFileSummary(BaseModel):
    """How the input file was read. Check it if the encoding is a guess."""

    format: Literal["jsonl", "csv", "txt", "xlsx"]
    encoding: str | None = Field(description="Encoding of a text; null for an Excel file.")
    encoding_is_guess: bool = Field(
        description="Whether the file names no encoding and is not UTF-8, so that it was guessed."
    )
    example: str | None = Field(
        description="If the encoding is a guess: a text of the file, as it was read. Null if the batch has jobs, which "
        "show their prompts."
    )
    separator: str | None = Field(description="Separator of the cells of CSV; null if there is one column.")
    sheet: str | None = Field(description="Name of the worksheet.")
    has_header: bool | None = Field(description="Whether a table has a header; null for other formats.")
    empty_rows: int = Field(description="Number of empty rows, which are ignored.")
    metadata_columns: list[str] = Field(description="Columns that are stored as metadata of the jobs.")


class BatchUrls(BaseModel):
    """URLs of the batch."""

    self: str
    cancel: str
    events: str
    images: str
    manifest: str


class BatchObject(BaseModel):
    """Many jobs submitted together: their progress, and the files with their results."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: str
    model: str | None = Field(description="The model, if all lines have the same.")
    status: BatchStatus
    errors: BatchErrors | None = Field(
        description="The invalid lines, if the validation failed. No line was executed then."
    )
    input_file_id: str | None
    completion_window: str
    output_file_id: str | None = Field(description="JSONL file with the responses of the completed lines.")
    error_file_id: str | None = Field(description="JSONL file with the errors of the other lines.")
    created_at: int
    in_progress_at: int | None
    expires_at: int = Field(description="Jobs that are still queued then expire.")
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str]
    input: InputFileSummary | None = Field(
        description="How the input file was read; null until then, and for a batch without a file."
    )
    progress: BatchProgress | None = Field(description="Set while the batch is in progress.")
    device_seconds: float = Field(description="Estimated device time of all lines.")
    parameters: dict[str, Any] = Field(description="The parameters for all lines.")
    webhook: WebhookOfJob | None
    retried_from: str | None = Field(description="The batch whose unsuccessful lines this batch retries.")
    api_key_id: str | None = Field(
        None, description="The API key that submitted the batch; absent without one.", exclude_if=is_none
    )
    urls: BatchUrls


class BatchList(BaseModel):
    """A page of batches. Get the next page with `after=<last_id>`."""

    object: Literal["list"] = "list"
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class BatchEstimate(BaseModel):
    """The response of a dry run."""

    object: Literal["batch.estimate"] = "batch.estimate"
    total: int = Field(description="Number of lines.")
    images: int = Field(description="Number of images of the valid lines.")
    models: dict[str, int] = Field(description="Number of lines by model.")
    device_seconds: float = Field(description="Estimated device time of the valid lines, as for a job.")
    estimated_finish_at: int | None = Field(
        description="Estimated end if one device generates the images after all queued jobs; null for paid providers."
    )
    cost_usd: float | None = Field(
        description="Estimated charge of a provider, from the cost of your recent images; null if it is not known."
    )
    input: InputFileSummary | None = Field(
        None, description="How the input file was read; null for a batch without a file."
    )
    errors: BatchErrors


def batch_object(row: ShownBatch, base_url: str) -> BatchObject:
    """The JSON of a batch, from a row of `core.batches.queries.get_batch`."""
    counts = row.counts
    return BatchObject(
        id=row.id,
        endpoint=row.endpoint,
        model=row.model,
        status=row.status,
        errors=None if row.errors is None else BatchErrors(data=[BatchError(**error) for error in row.errors]),
        input_file_id=row.input_file_id,
        completion_window=f"{int(row.completion_window.total_seconds() // 3600)}h",
        output_file_id=row.output_file_id,
        error_file_id=row.error_file_id,
        created_at=int(row.created_at.timestamp()),
        **{name: seconds(getattr(row, name)) for name in TIMES},
        request_counts=RequestCounts(total=row.total, **counts),
        metadata=row.metadata,
        input=input_summary(row.input),
        progress=_progress(row, counts),
        device_seconds=row.cost,
        parameters=row.parameters,
        webhook=None if row.webhook is None else WebhookOfJob(url=row.webhook["url"], events=row.webhook["events"]),
        retried_from=row.retried_from,
        api_key_id=row.api_key_id,
        urls=batch_urls(row.id, base_url),
    )


def batch_urls(batch_id: str, base_url: str) -> BatchUrls:
    """The URLs of a batch."""
    url = f"{base_url}/v1/batches/{batch_id}"
    return BatchUrls(
        self=url,
        cancel=f"{url}/cancel",
        events=f"{url}/events",
        images=f"{url}/images.zip",
        manifest=f"{url}/manifest.csv",
    )


def input_summary(values: Mapping[str, Any] | None) -> InputFileSummary | None:
    """How an input file was read; None: it was not read yet."""
    if not values or "format" not in values:
        return None
    return InputFileSummary(**{name: values[name] for name in InputFileSummary.model_fields})


def _progress(row: ShownBatch, counts: Mapping[str, int]) -> BatchProgress | None:
    if row.status != BatchStatus.IN_PROGRESS or row.in_progress_at is None:
        return None
    if row.finished_recently is None or row.finished_recently < MIN_LINES_FOR_RATE:
        return BatchProgress(lines_per_second=None, estimated_finish_at=None)
    window = min(RATE_WINDOW, row.now - row.in_progress_at).total_seconds()
    rate = row.finished_recently / max(window, 1.0)
    remaining = sum(counts.get(status, 0) for status in (JobStatus.QUEUED, JobStatus.IN_PROGRESS))
    return BatchProgress(
        lines_per_second=round(rate, 3), estimated_finish_at=int(row.now.timestamp() + remaining / rate)
    )


def batch_list(batches: Sequence[BatchObject], has_more: bool) -> BatchList:
    """A page of batches."""
    return BatchList(
        data=list(batches),
        first_id=batches[0].id if batches else None,
        last_id=batches[-1].id if batches else None,
        has_more=has_more,
    )
