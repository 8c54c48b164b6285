"""Responses about usage, costs and limits: OpenAI's pages of buckets, and a CSV file of the same rows."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from core.limits import NAMES, Subject
from core.reports.usage import TRAINING
from core.rows.usage import LimitUse, UsageBucket


class ImagesResult(BaseModel):
    """The images of a bucket. A field that the request did not group by is null."""

    object: Literal["organization.usage.images.result"] = "organization.usage.images.result"
    images: int
    num_model_requests: int = Field(description="Jobs and trainings that ended after they had started.")
    project_id: str | None
    user_id: None = None
    api_key_id: str | None
    model: str | None
    size: str | None
    source: str | None = Field(description="`image.generation`, `image.edit`, `image.variation` or `fine_tuning`.")
    bytes: int = Field(description="Size of the images, or of the models of a training.")
    device_seconds: float = Field(description="Device time, failed and cancelled jobs included.")


class CostAmount(BaseModel):
    """An amount of money."""

    value: float
    currency: Literal["usd"] = "usd"


class CostsResult(BaseModel):
    """The cost of a bucket: what providers charged. Images of local models cost nothing."""

    object: Literal["organization.costs.result"] = "organization.costs.result"
    amount: CostAmount
    line_item: str | None = Field(description="The model.")
    project_id: str | None
    api_key_id: str | None


ResultT = TypeVar("ResultT", ImagesResult, CostsResult)


class Bucket(BaseModel, Generic[ResultT]):
    """What was used or charged within a time."""

    object: Literal["bucket"] = "bucket"
    start_time: int
    end_time: int
    results: list[ResultT]


class Page(BaseModel, Generic[ResultT]):
    """A page of buckets. Get the next page with `page=<next_page>`."""

    object: Literal["page"] = "page"
    data: list[Bucket[ResultT]]
    has_more: bool
    next_page: str | None


class LimitObject(BaseModel):
    """The limits of a project or key and what it uses. A limit that is null does not apply."""

    object: Literal["limit"] = "limit"
    subject_id: str
    limits: dict[str, float | None]
    use: dict[str, float] = Field(description="As it was last counted; at least what is true.")


class LimitList(BaseModel):
    """The limits of a project and its key."""

    object: Literal["list"] = "list"
    data: list[LimitObject]


def images_result(row: UsageBucket) -> ImagesResult:
    """The result of a row."""
    return ImagesResult(
        images=row.images,
        num_model_requests=row.jobs,
        project_id=row.project_id,
        api_key_id=row.api_key_id or None,
        model=row.model,
        size=row.size,
        source=row.operation if row.operation in (None, TRAINING) else f"image.{row.operation}",
        bytes=row.bytes,
        device_seconds=round(row.device_seconds, 3),
    )


def costs_result(row: UsageBucket) -> CostsResult:
    """The result of a row."""
    amount = CostAmount(value=round(row.cost_usd, 6))
    return CostsResult(amount=amount, line_item=row.model, project_id=row.project_id, api_key_id=row.api_key_id or None)


def buckets(
    rows: Iterable[UsageBucket],
    start: datetime,
    end: datetime,
    width: timedelta,
    result: Callable[[UsageBucket], ResultT],
) -> Iterator[Bucket[ResultT]]:
    """All buckets of a time, also those without rows. result: converts a row."""
    by_time: dict[int, list[ResultT]] = {}
    for row in rows:
        by_time.setdefault(int(row.started_at.timestamp()), []).append(result(row))
    begin, seconds = int(start.timestamp()), int(width.total_seconds())
    for time in range(begin, int(end.timestamp()), seconds):
        yield Bucket(start_time=time, end_time=time + seconds, results=by_time.get(time, []))


CSV_COLUMNS = (
    "start_time", "project_id", "api_key_id", "model", "operation", "size", "jobs", "images", "bytes",
    "device_seconds", "cost_usd",
)  # fmt: skip


def as_csv(rows: Iterable[UsageBucket]) -> str:
    """Rows as a CSV file (RFC 4180) with a header. start_time: ISO 8601, UTC."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        values: Mapping[str, Any] = asdict(row) | {"start_time": row.started_at.astimezone(UTC).isoformat()}
        writer.writerow(["" if values[name] is None else values[name] for name in CSV_COLUMNS])
    return file.getvalue()


def limit_list(subjects: Sequence[Subject], uses: Sequence[LimitUse], running: Mapping[str, int]) -> LimitList:
    """The limits of subjects with what they use. running: the jobs in progress, by subject."""
    by_id = {use.subject_id: use for use in uses}
    names = ("jobs", "stored_bytes", "device_seconds", "provider_usd")
    return LimitList(
        data=[
            LimitObject(
                subject_id=subject.id,
                limits={name: getattr(subject.limits, name) for name in NAMES},
                use=({name: getattr(by_id[subject.id], name) for name in names} if subject.id in by_id else {})
                | ({"running_jobs": running[subject.id]} if subject.id in running else {}),
            )
            for subject in subjects
        ]
    )
