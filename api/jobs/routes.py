"""`/v1/jobs`: submit, get, wait, list, cancel, retry, delete. The events are in `api/jobs/events.py`."""

import json
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from api.audit import event_of
from api.authentication import CurrentCaller, Project, requires
from api.context import Context
from api.deps import AppContext, Body
from api.fine_tuning.models import catalog_for
from api.inputs import read_inputs, store_inputs
from api.jobs.deletion import delete_job
from api.jobs.idempotency import REPLAY_HEADERS, Key, lookup, submit_with_key
from api.jobs.waiting import job_row, wait_until_final
from api.openapi import REFERENCES
from api.pagination import AfterJob, check_after
from api.responses import ERROR, answer, render, render_json, respond_accepted
from core import audit, idempotency, jobs, queries
from core.audit import AuditType
from core.batches import queries as batch_queries
from core.db import ConstraintViolation
from core.errors import (
    BatchNotFinal,
    IdempotencyConflict,
    JobNotFinal,
    JobNotRetryable,
    UnknownParameter,
)
from core.new_job import NewJob
from core.requests.fields import UnixSeconds
from core.requests.inputs import Inputs, sources
from core.requests.job import JobRequest, parse
from core.requests.plan import find_model, plan, request_of
from core.responses.job import Deleted, Estimate, JobList, JobObject, job_list, job_urls
from core.rows.job import JobRow
from core.scopes import Scope
from core.status import JobStatus
from core.telemetry.job_metrics import record_ends

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JSON_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": JobRequest.model_json_schema(ref_template=REFERENCES)}},
    }
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "Your project has no such job."}}

WaitSeconds = Annotated[
    float, Ge(0), Le(60), Query(description="Long poll: respond when the job is final, or after this many seconds.")
]


async def show(context: Context, project_id: str, job_id: str) -> JobObject:
    """The current state of a job, with its denoising step. Raises NotFound."""
    row = await job_row(context, project_id, job_id)
    is_running = row.status == JobStatus.IN_PROGRESS
    return render(context, row, await context.listener.step(job_id) if is_running else None)


@router.post(
    "",
    summary="Submit a job",
    status_code=202,
    response_model=JobObject,
    responses={
        200: {"model": Estimate, "description": "The estimate, if `dry_run` is true. Nothing is stored."},
        202: {"description": "The job is stored in the database. `Location` is its path."},
        400: ERROR | {"description": "The request is not valid; `param` names the field. Nothing is stored."},
        404: ERROR | {"description": "What the first request with this Idempotency-Key created has been deleted."},
        409: ERROR | {"description": "Another request with this Idempotency-Key is in progress."},
        413: ERROR,
        422: ERROR | {"description": "This Idempotency-Key was used with a different request."},
        503: ERROR | {"description": "The database is not available. Nothing is stored."},
    },
    openapi_extra=JSON_BODY,
)
@requires(Scope.SUBMIT)
async def submit(
    body: Body,
    context: AppContext,
    caller: CurrentCaller,
    idempotency_key: Key = None,
) -> Response:
    """Submit a job. The response comes as soon as the job is stored; the images follow later."""
    project_id = caller.project_id
    request = parse(JobRequest, body)
    catalog = await catalog_for(context, project_id, request)
    find_model(request, catalog)
    key = None if idempotency_key is None or request.dry_run else idempotency.check(idempotency_key)
    fingerprint = idempotency.fingerprint("/v1/jobs", request.model_dump(exclude_unset=True)) if key else b""
    # A replay does not read its input images again; they may be deleted by now.
    if key and sources(request) and (response := await replay(context, project_id, key, fingerprint)):
        return response
    inputs = await read_inputs(context, project_id, request)
    job = plan(request, catalog, context.settings, project_id, inputs=inputs.ids, api_key_id=caller.key_id)
    if request.dry_run:
        return answer(await estimate_of(context, job))
    if key:
        return await accept_with_key(context, job, inputs, key, fingerprint)
    row = await submit_job(context, job, inputs)
    return respond_accepted(render_json(context, row), row.id)


async def submit_job(context: Context, job: NewJob, inputs: Inputs) -> JobRow:
    """Store a job's input images and submit it."""
    entry = await store_inputs(context, inputs)
    if entry is not None:
        await context.database.execute(entry)
    return await context.submission.submit(job)


async def accept_with_key(context: Context, job: NewJob, inputs: Inputs, key: str, fingerprint: bytes) -> Response:
    """Submit a job, or return the first response again if its key has been used."""
    body = await submit_with_key(context, job, inputs, key, fingerprint, lambda row: render_json(context, row).decode())
    if body is not None:
        return respond_accepted(body, job.id)
    response = await replay(context, job.project_id, key, fingerprint)
    if response is None:
        raise IdempotencyConflict
    return response


async def replay(context: Context, project_id: str, key: str, fingerprint: bytes) -> Response | None:
    """The response that is stored under a key, if there is one. Raises IdempotencyMismatch."""
    job = await lookup(context, project_id, key, fingerprint)
    if job is None:
        return None
    # The first request may have had another address, even one that its sender invented.
    urls = job_urls(job["id"], context.base_url).model_dump()
    return respond_accepted(json.dumps({**job, "urls": urls}), job["id"], REPLAY_HEADERS)


async def estimate_of(context: Context, job: NewJob) -> Estimate:
    """The answer to a dry run."""
    estimates = await context.estimates.current()
    seconds = job.n * estimates.seconds(context.catalog.model(job.model), job.operation, job.parameters, job.n)
    return Estimate(
        model=job.model,
        size=job.parameters.size,
        steps=job.parameters.steps,
        guidance_scale=job.parameters.guidance_scale,
        n=job.n,
        device_seconds=round(seconds, 3),
        estimated_finish_at=await context.estimates.finish_at({job.queue: seconds}),
    )


@router.get(
    "/{job_id}",
    summary="Get a job, or wait for it",
    response_model=JobObject,
    responses=NOT_FOUND | {304: {"description": "The job has not changed."}},
)
@requires(Scope.READ)
async def fetch(
    job_id: str,
    context: AppContext,
    project_id: Project,
    wait: WaitSeconds = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Get a job. With `wait` the response comes when the job is final, or after `wait` seconds."""
    if wait:
        row = await wait_until_final(context, project_id, job_id, wait)
    else:
        row = await job_row(context, project_id, job_id)
    step = await context.listener.step(job_id) if row.status == JobStatus.IN_PROGRESS else None
    headers = {"etag": _etag(context, row, step["step"] if step else 0), "cache-control": "private, no-cache"}
    if if_none_match == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(render_json(context, row, step), media_type="application/json", headers=headers)


def _etag(context: Context, row: JobRow, step: int) -> str:
    """The ETag of a job as this caller sees it. Its links begin with the address of the request, and they expire."""
    links = zlib.crc32(f"{context.storage.link_period} {context.base_url}".encode())
    reasons = f"{row.has_worker or 0:d}{row.is_queue_paused or 0:d}"
    return f'"{row.version}-{step}-{row.queue_position or 0}-{reasons}-{links:x}"'


LIST_PARAMETERS = frozenset(
    {"status", "model", "batch_id", "prompt", "created_after", "created_before", "after", "limit", "order"}
)


@router.get("", summary="List jobs", response_model=JobList, responses={400: ERROR})
@requires(Scope.READ)
async def index(
    request: Request,
    context: AppContext,
    project_id: Project,
    status: Annotated[list[JobStatus] | None, Query(description="Only jobs with one of these statuses.")] = None,
    batch_id: Annotated[str | None, Query(description="Only jobs of this batch, ordered by line.")] = None,
    model: Annotated[str | None, Query(description="Only jobs of this model.")] = None,
    prompt: Annotated[
        str | None,
        MaxLen(200),
        Query(
            description=f"Only jobs whose prompts have all these words. A call searches {queries.SEARCHED_JOBS} jobs: "
            "its page may have few jobs or none although `has_more` is true. Go on after `last_id`."
        ),
    ] = None,
    created_after: Annotated[
        UnixSeconds | None, Query(description="Only jobs created after this time, in Unix seconds.")
    ] = None,
    created_before: Annotated[
        UnixSeconds | None, Query(description="Only jobs created before this time, in Unix seconds.")
    ] = None,
    after: AfterJob = None,
    limit: Annotated[int, Ge(1), Le(100), Query()] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="Order by creation time.")] = "desc",
) -> Response:
    """List jobs, newest first. `metadata[key]=value` selects jobs with this metadata."""
    await check_after(context, project_id, "job", after, batch_id)
    selection: dict[str, Any] = {
        "limit": limit + 1,
        "descending": order == "desc",
        "after": after,
        "statuses": status or (),
        "batch_id": batch_id,
        "model": None if model is None else context.catalog.model(model).id,
        "metadata": _metadata_filter(request),
        "created_after": _datetime(created_after),
        "created_before": _datetime(created_before),
    }
    if prompt is not None and (words := prompt.split()):
        return answer(await _search(context, project_id, words, limit, selection))
    rows = await context.database.execute(queries.list_jobs(project_id, **selection))
    return answer(job_list([render(context, row) for row in rows[:limit]], has_more=len(rows) > limit))


async def _search(
    context: Context, project_id: str, words: list[str], limit: int, selection: Mapping[str, Any]
) -> JobList:
    """A page of the jobs whose prompts have all words. Its `last_id` is the last job that was searched."""
    answers = await context.database.execute(queries.search_jobs(project_id, words, **selection))
    hits = [row.id for row in answers if not row.is_end]
    end = next((row.id for row in answers if row.is_end), None)
    rows = {row.id: row for row in await context.database.execute(queries.list_jobs_of(hits[:limit]))} if hits else {}
    page = job_list(
        [render(context, rows[job_id]) for job_id in hits[:limit] if job_id in rows], has_more=len(hits) > limit
    )
    if not page.has_more and end is not None:
        return page.model_copy(update={"has_more": True, "last_id": end})
    return page


def _metadata_filter(request: Request) -> dict[str, str]:
    """The `metadata[key]=value` parameters. Raises UnknownParameter for unknown parameters."""
    pairs = {}
    for name, value in request.query_params.multi_items():
        if name.startswith("metadata[") and name.endswith("]"):
            pairs[name[len("metadata[") : -1]] = value
        elif name not in LIST_PARAMETERS:
            names = ", ".join(sorted(LIST_PARAMETERS))
            raise UnknownParameter(f"{name} is not a parameter here. Known are: {names}, metadata[key].", param=name)
    return pairs


def _datetime(unix_seconds: int | None) -> datetime | None:
    return None if unix_seconds is None else datetime.fromtimestamp(unix_seconds, UTC)


@router.post("/{job_id}/cancel", summary="Cancel a job", response_model=JobObject, responses=NOT_FOUND)
@requires(Scope.SUBMIT)
async def cancel(job_id: str, context: AppContext, project_id: Project) -> Response:
    """Cancel a job: immediately if it is queued, at the next step if it is running. A final job is unchanged."""
    if record_ends(await context.database.execute(jobs.cancel(project_id, job_id))):
        await context.listener.publish_change(job_id)
    return answer(await show(context, project_id, job_id))


@router.post(
    "/{job_id}/retry",
    summary="Retry a job",
    status_code=202,
    response_model=JobObject,
    responses=NOT_FOUND | {409: ERROR | {"description": "The job is not failed, cancelled or expired."}},
)
@requires(Scope.SUBMIT)
async def retry(job_id: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Retry a failed, cancelled or expired job as a new job with the same seed. A second retry returns the same job."""
    project_id = caller.project_id
    row = await job_row(context, project_id, job_id)
    if row.status not in (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED):
        raise JobNotRetryable(f"{job_id} is {row.status}; only a failed, cancelled or expired job can be retried.")
    if repetitions := await context.database.execute(queries.get_retry(project_id, job_id)):
        return respond_accepted(render_json(context, repetitions[0]), repetitions[0].id)
    request = request_of(row)
    await read_inputs(context, project_id, request)  # its input images may be deleted by now
    job = plan(
        request,
        await catalog_for(context, project_id, request),
        context.settings,
        project_id,
        inputs=row.inputs,
        api_key_id=caller.key_id,
        retried_from=job_id,
    )
    try:
        retry_row = await context.submission.submit(job)
    except ConstraintViolation:
        (retry_row,) = await context.database.execute(queries.get_retry(project_id, job_id))
    return respond_accepted(render_json(context, retry_row), retry_row.id)


@router.delete("/{job_id}", summary="Delete a job", response_model=Deleted, responses=NOT_FOUND | {409: ERROR})
@requires(Scope.SUBMIT)
async def delete(job_id: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Delete a final job with its images, the copies of its input images, and the responses that mention it."""
    project_id = caller.project_id
    row = await job_row(context, project_id, job_id)
    if not JobStatus(row.status).is_final:
        raise JobNotFinal(f"{job_id} is {row.status}; cancel it before you delete it.")
    if row.batch_id is not None and await context.database.execute(batch_queries.find_open(row.batch_id)):
        raise BatchNotFinal(
            f"{job_id} belongs to {row.batch_id}, which is not final; its output files will need the job."
        )
    await delete_job(context, row)
    await context.database.execute(audit.record(event_of(caller, AuditType.JOB_DELETED, job_id)))
    return answer(Deleted(id=job_id, object="job"))
