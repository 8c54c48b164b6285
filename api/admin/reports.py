"""`/v1/admin`: what went wrong or took long, in all projects, and what they store."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, Field

from api.authentication import requires
from api.deps import AppContext
from api.pagination import AfterDelivery, AfterJob
from api.responses import ERROR, answer
from core.errors import InvalidParameter
from core.outbox import dead
from core.outbox.dead import MAX_COUNTED, DeadDelivery
from core.reports import job_reports, storage_use
from core.reports.job_reports import MAX_FAILURES, CrashedJob, Duration
from core.requests.fields import UnixSeconds
from core.responses.job import seconds
from core.scopes import Scope

router = APIRouter(prefix="/v1/admin", tags=["admin"])

WIDTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1), "1d": timedelta(days=1)}
MAX_BUCKETS = 1440
MAX_ROWS = 10_000
MAX_DESTINATIONS = 100

Limit = Annotated[int, Ge(1), Le(100), Query()]


class AdminFailures(BaseModel):
    """How many jobs of a model failed with a code, within a bucket of time."""

    object: Literal["admin.failures"] = "admin.failures"
    start_time: int
    end_time: int
    code: str
    model: str
    jobs: int


class AdminFailuresList(BaseModel):
    """Failures, the newest bucket first. A bucket without failures is left out."""

    object: Literal["list"] = "list"
    data: list[AdminFailures]
    is_complete: bool = Field(description=f"False: there are more failures; the newest {MAX_FAILURES} are counted.")


class AdminSlowJob(BaseModel):
    """A job that ended, and its durations in seconds."""

    object: Literal["admin.slow_job"] = "admin.slow_job"
    id: str
    project_id: str
    batch_id: str | None
    model: str
    status: str
    attempts: int
    finished_at: int
    wait_seconds: float | None = Field(description="From the submit to the last claim. Null: it never started.")
    run_seconds: float | None = Field(description="The last attempt.")
    total_seconds: float


class AdminSlowJobList(BaseModel):
    """The slowest jobs, the slowest first."""

    object: Literal["list"] = "list"
    data: list[AdminSlowJob]


class AdminCrashedJob(BaseModel):
    """A job whose worker died, or that was in the same micro-batch."""

    object: Literal["admin.crashed_job"] = "admin.crashed_job"
    id: str
    project_id: str
    batch_id: str | None
    model: str
    status: str
    crashes: int = Field(description="Attempts whose lease ran out.")
    attempts: int
    error_code: str | None
    workers: list[str] = Field(description="All workers that claimed it.")
    created_at: int
    crashed_at: int | None = Field(description="When the sweep took the job back last.")


class AdminCrashedJobList(BaseModel):
    """A page of jobs that crashed workers, the newest first. Get the next page with `after=<last_id>`."""

    object: Literal["list"] = "list"
    data: list[AdminCrashedJob]
    first_id: str | None
    last_id: str | None
    has_more: bool


class AdminDeadDelivery(BaseModel):
    """A webhook delivery without a further attempt. The codes are those of the last attempt."""

    object: Literal["admin.dead_delivery"] = "admin.dead_delivery"
    id: str
    project_id: str
    job_id: str | None
    batch_id: str | None
    endpoint_id: str | None = Field(description="Null: the webhook of the job or batch itself.")
    destination: str = Field(description="The endpoint, or scheme and host of the URL of a job.")
    event_type: str
    attempts: int
    status_code: int | None
    error_code: str | None
    created_at: int
    finished_at: int


class AdminDeadDestination(BaseModel):
    """How many deliveries to a destination are dead."""

    project_id: str
    destination: str
    deliveries: int
    last_finished_at: int


class AdminDeadDeliveryList(BaseModel):
    """A page of dead deliveries, the newest first. Get the next page with `after=<last_id>`."""

    object: Literal["list"] = "list"
    data: list[AdminDeadDelivery]
    destinations: list[AdminDeadDestination] = Field(
        description=f"By destination, of the newest {MAX_COUNTED}; those with the most come first."
    )
    first_id: str | None
    last_id: str | None
    has_more: bool


class AdminStorage(BaseModel):
    """What a project stores."""

    object: Literal["admin.storage"] = "admin.storage"
    project_id: str
    images: int
    image_bytes: int
    files: int
    file_bytes: int
    models: int = Field(description="Fine-tuned models, with those of checkpoints.")
    model_bytes: int
    bytes: int = Field(description="Of images, files and models together.")
    counted_at: int | None


class AdminStorageList(BaseModel):
    """What projects store, as the sweep has counted it; those with the most bytes come first."""

    object: Literal["list"] = "list"
    data: list[AdminStorage]


@router.get("/failures", summary="Count failed jobs", response_model=AdminFailuresList, responses={400: ERROR})
@requires(Scope.ADMIN)
async def list_failures(
    context: AppContext,
    start_time: Annotated[
        UnixSeconds | None, Query(description="Rounded down to a bucket. Default: a day ago.")
    ] = None,
    end_time: Annotated[UnixSeconds | None, Query(description="Default: now.")] = None,
    bucket_width: Annotated[Literal["1m", "1h", "1d"], Query()] = "1h",
) -> Response:
    """Count the failed jobs of all projects by time, error code and model."""
    width = WIDTHS[bucket_width]
    end = datetime.now(UTC) if end_time is None else datetime.fromtimestamp(end_time, UTC)
    first_second = max(0, int(end.timestamp()) - 86_400) if start_time is None else start_time
    start = datetime.fromtimestamp(first_second - first_second % int(width.total_seconds()), UTC)
    if start_time is None and (end - start) / width > MAX_BUCKETS:
        start += width  # a day and the begun bucket would be too many
    if start >= end:
        raise InvalidParameter("start_time must be before end_time.", param="start_time")
    if (end - start) / width > MAX_BUCKETS:
        raise InvalidParameter(
            f"From start_time to end_time may be {MAX_BUCKETS} buckets at most; use a larger bucket_width.",
            param="bucket_width",
        )
    rows = await context.database.execute(job_reports.count_failures(start, end, width, limit=MAX_ROWS))
    data = [
        AdminFailures(
            start_time=int(row.started_at.timestamp()),
            end_time=int((row.started_at + width).timestamp()),
            code=row.code,
            model=row.model,
            jobs=row.jobs,
        )
        for row in rows
    ]
    is_complete = sum(row.jobs for row in rows) < MAX_FAILURES and len(rows) < MAX_ROWS
    return answer(AdminFailuresList(data=data, is_complete=is_complete))


@router.get("/slow_jobs", summary="List the slowest jobs", response_model=AdminSlowJobList)
@requires(Scope.ADMIN)
async def list_slow_jobs(
    context: AppContext,
    by: Annotated[Duration, Query(description="What makes a job slow.")] = "run",
    limit: Limit = 20,
) -> Response:
    """List the slowest of the 10,000 jobs that ended last."""
    rows = await context.database.execute(job_reports.list_slow(by, limit=limit))
    data = [
        AdminSlowJob(
            **{name: getattr(row, name) for name in ("id", "project_id", "batch_id", "model", "status", "attempts")},
            finished_at=int(row.finished_at.timestamp()),
            wait_seconds=row.wait_seconds,
            run_seconds=row.run_seconds,
            total_seconds=row.total_seconds,
        )
        for row in rows
    ]
    return answer(AdminSlowJobList(data=data))


@router.get("/crashed_jobs", summary="List jobs that crashed workers", response_model=AdminCrashedJobList)
@requires(Scope.ADMIN)
async def list_crashed_jobs(context: AppContext, after: AfterJob = None, limit: Limit = 20) -> Response:
    """List the jobs whose worker died while it had them. One of a micro-batch may be the cause, the others not."""
    rows = await context.database.execute(job_reports.list_crashed(limit=limit + 1, after=after))
    data = [_crashed_job(row) for row in rows[:limit]]
    first_id, last_id = (data[0].id, data[-1].id) if data else (None, None)
    return answer(AdminCrashedJobList(data=data, first_id=first_id, last_id=last_id, has_more=len(rows) > limit))


def _crashed_job(row: CrashedJob) -> AdminCrashedJob:
    names = ("id", "project_id", "batch_id", "model", "status", "crashes", "attempts", "error_code")
    return AdminCrashedJob(
        **{name: getattr(row, name) for name in names},
        workers=list(row.workers),
        created_at=int(row.created_at.timestamp()),
        crashed_at=seconds(row.crashed_at),
    )


@router.get("/dead_deliveries", summary="List dead webhook deliveries", response_model=AdminDeadDeliveryList)
@requires(Scope.ADMIN)
async def list_dead_deliveries(context: AppContext, after: AfterDelivery = None, limit: Limit = 20) -> Response:
    """List the webhook deliveries of all projects that have failed for good."""
    rows = await context.database.execute(dead.list_dead(limit=limit + 1, after=after))
    counts = await context.database.execute(dead.count_dead(limit=MAX_DESTINATIONS))
    data = [_dead_delivery(row) for row in rows[:limit]]
    destinations = [
        AdminDeadDestination(
            project_id=row.project_id,
            destination=row.destination,
            deliveries=row.deliveries,
            last_finished_at=int(row.finished_at.timestamp()),
        )
        for row in counts
    ]
    first_id, last_id = (data[0].id, data[-1].id) if data else (None, None)
    page = AdminDeadDeliveryList(
        data=data, destinations=destinations, first_id=first_id, last_id=last_id, has_more=len(rows) > limit
    )
    return answer(page)


def _dead_delivery(row: DeadDelivery) -> AdminDeadDelivery:
    times = {name: int(getattr(row, name).timestamp()) for name in ("created_at", "finished_at")}
    own = {name: getattr(row, name) for name in DeadDelivery.__slots__ if name not in times}
    return AdminDeadDelivery(**own, **times)


@router.get("/storage", summary="List what projects store", response_model=AdminStorageList)
@requires(Scope.ADMIN)
async def list_storage(context: AppContext) -> Response:
    """List what each project stores. The sweep counts it in its cleanup; `counted_at` says when."""
    data = [
        AdminStorage(
            project_id=row.project_id,
            images=row.images,
            image_bytes=row.image_bytes,
            files=row.files,
            file_bytes=row.file_bytes,
            models=row.models,
            model_bytes=row.model_bytes,
            bytes=row.image_bytes + row.file_bytes + row.model_bytes,
            counted_at=seconds(row.counted_at),
        )
        for row in await context.database.execute(storage_use.list_use())
    ]
    return answer(AdminStorageList(data=data))
