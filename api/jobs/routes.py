"""`/v1/jobs`: submit, fetch, wait, list, cancel, retry, delete. The events are in `api/jobs/events.py`."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from sqlalchemy.exc import IntegrityError

from api.context import Context
from api.deps import AppContext, Body, Project
from api.inputs import keep, read_inputs
from api.jobs.idempotency import REPLAYED, Key, lookup, submit_with_key
from api.jobs.waiting import job_row, until_final
from api.openapi import REFERENCES
from api.responses import ERROR, accepted, answer, render
from core import idempotency, jobs, queries
from core.batches import transitions as batches
from core.errors import (
    BatchNotFinal,
    IdempotencyConflict,
    JobNotFinal,
    JobNotRetryable,
    UnknownParameter,
)
from core.jobs import NewJob
from core.requests.fields import UnixSeconds
from core.requests.inputs import Inputs
from core.requests.job import JobRequest, parse
from core.requests.plan import find_model, plan, request_of
from core.responses.job import Deleted, Estimate, JobList, JobObject, job_list
from core.rows import JobRow
from core.status import JobStatus
from core.storage import image_prefix

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

JSON_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": JobRequest.model_json_schema(ref_template=REFERENCES)}},
    }
}
NOT_FOUND: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "No such job in your project."}}

WaitSeconds = Annotated[
    float, Ge(0), Le(60), Query(description="Long poll: answer when the job is final, or after so many seconds.")
]


async def show(context: Context, project_id: str, job_id: str) -> JobObject:
    """A job as it is now, with the step it is at."""
    row = await job_row(context, project_id, job_id)
    running = row.status == JobStatus.IN_PROGRESS
    return render(context, row, await context.listener.step(job_id) if running else None)


@router.post(
    "",
    summary="Submit a job",
    status_code=202,
    response_model=JobObject,
    responses={
        200: {"model": Estimate, "description": "The estimate, when `dry_run` is true. Nothing is stored."},
        202: {"description": "The job is in the database and will not be lost. `Location` names it."},
        400: ERROR | {"description": "The request is wrong; `param` names the field. Nothing is stored."},
        409: ERROR | {"description": "A request with this Idempotency-Key is being worked on."},
        413: ERROR,
        422: ERROR | {"description": "This Idempotency-Key came with another request before."},
        503: ERROR | {"description": "The database does not answer; nothing is stored."},
    },
    openapi_extra=JSON_BODY,
)
async def submit(
    body: Body,
    context: AppContext,
    project_id: Project,
    idempotency_key: Key = None,
) -> Response:
    """Submit a prompt and get a job at once."""
    wanted = parse(JobRequest, body)
    find_model(wanted, context.catalog)
    key = None if idempotency_key is None or wanted.dry_run else idempotency.check(idempotency_key)
    fingerprint = idempotency.fingerprint("/v1/jobs", wanted.model_dump(exclude_unset=True)) if key else b""
    if key and wanted.image is not None and (replayed := await _replayed(context, project_id, key, fingerprint)):
        return replayed  # its images are neither read nor kept a second time, and may be gone
    inputs = await read_inputs(context, project_id, wanted)
    job = plan(wanted, context.catalog, context.settings, project_id, inputs=inputs.ids)
    if wanted.dry_run:
        return answer(_estimate(job))
    if key:
        return await _submit_with_key(context, job, inputs, key, fingerprint)
    row = await submit_job(context, job, inputs)
    return accepted(render(context, row).model_dump_json(), row.id)


async def submit_job(context: Context, job: NewJob, inputs: Inputs) -> JobRow:
    """Keep a job's images and put it in line."""
    entry = await keep(context, inputs)
    if entry is not None:
        await context.database.execute(entry)
    row = await context.submission.submit(job)
    context.notifier.notify(job.queue)
    return row


async def _submit_with_key(context: Context, job: NewJob, inputs: Inputs, key: str, fingerprint: bytes) -> Response:
    """Submit a job unless its key has been used; else give the first answer again."""
    body = await submit_with_key(
        context, job, inputs, key, fingerprint, lambda row: render(context, row).model_dump_json()
    )
    if body is not None:
        return accepted(body, job.id)
    replayed = await _replayed(context, job.project_id, key, fingerprint)
    if replayed is None:
        raise IdempotencyConflict
    return replayed


async def _replayed(context: Context, project_id: str, key: str, fingerprint: bytes) -> Response | None:
    """The answer that is kept under a key, if there is one. Raises IdempotencyMismatch."""
    kept = await lookup(context, project_id, key, fingerprint)
    return None if kept is None else accepted(json.dumps(kept), kept["id"], REPLAYED)


def _estimate(job: NewJob) -> Estimate:
    return Estimate(
        model=job.model,
        size=job.parameters.size,
        steps=job.parameters.steps,
        guidance_scale=job.parameters.guidance_scale,
        n=job.n,
        device_seconds=job.cost,
    )


@router.get(
    "/{job_id}",
    summary="Fetch or wait for a job",
    response_model=JobObject,
    responses=NOT_FOUND | {304: {"description": "Unchanged."}},
)
async def fetch(
    job_id: str,
    context: AppContext,
    project_id: Project,
    wait: WaitSeconds = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Fetch a job; with `wait`, as soon as it is final."""
    if wait:
        await until_final(context, project_id, job_id, wait)
    row = await job_row(context, project_id, job_id)
    step = await context.listener.step(job_id) if row.status == JobStatus.IN_PROGRESS else None
    etag = f'"{row.version}-{step["step"] if step else 0}-{row.queue_position or 0}"'
    if if_none_match == etag:
        return Response(status_code=304, headers={"etag": etag})
    return answer(render(context, row, step), headers={"etag": etag, "cache-control": "no-cache"})


LIST_PARAMETERS = frozenset(
    {"status", "model", "batch_id", "created_after", "created_before", "after", "limit", "order"}
)


@router.get("", summary="List jobs", response_model=JobList, responses={400: ERROR})
async def index(
    request: Request,
    context: AppContext,
    project_id: Project,
    status: Annotated[list[JobStatus] | None, Query(description="Only jobs in one of these states.")] = None,
    batch_id: Annotated[str | None, Query(description="Only jobs of this batch, in the order of its lines.")] = None,
    model: Annotated[str | None, Query(description="Only jobs of this model.")] = None,
    created_after: Annotated[UnixSeconds | None, Query(description="Unix seconds.")] = None,
    created_before: Annotated[UnixSeconds | None, Query(description="Unix seconds.")] = None,
    after: Annotated[str | None, Query(description="`last_id` of the page before.")] = None,
    limit: Annotated[int, Ge(1), Le(100), Query()] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="By time of creation.")] = "desc",
) -> Response:
    """List jobs, newest first. `metadata[key]=value` asks for jobs with that pair."""
    rows = await context.database.execute(
        queries.list_jobs(
            project_id,
            limit=limit + 1,
            descending=order == "desc",
            after=after,
            statuses=status or (),
            batch_id=batch_id,
            model=None if model is None else context.catalog.model(model).id,
            metadata=_metadata_filter(request),
            created_after=_moment(created_after),
            created_before=_moment(created_before),
        )
    )
    return answer(job_list([render(context, row) for row in rows[:limit]], has_more=len(rows) > limit))


def _metadata_filter(request: Request) -> dict[str, str]:
    """The `metadata[key]=value` parameters; any other that is not known is refused."""
    pairs = {}
    for name, value in request.query_params.multi_items():
        if name.startswith("metadata[") and name.endswith("]"):
            pairs[name[len("metadata[") : -1]] = value
        elif name not in LIST_PARAMETERS:
            known = ", ".join(sorted(LIST_PARAMETERS))
            raise UnknownParameter(f"{name} is not a parameter here. Known are: {known}, metadata[key].", param=name)
    return pairs


def _moment(unix_seconds: int | None) -> datetime | None:
    return None if unix_seconds is None else datetime.fromtimestamp(unix_seconds, UTC)


@router.post("/{job_id}/cancel", summary="Cancel a job", response_model=JobObject, responses=NOT_FOUND)
async def cancel(job_id: str, context: AppContext, project_id: Project) -> Response:
    """Stop a job: at once while it waits, at its next step while it is drawn. Harmless on a final one."""
    moved = await context.database.execute(jobs.cancel(project_id, job_id))
    if moved:
        await context.listener.changed(job_id)
    return answer(await show(context, project_id, job_id))


@router.post(
    "/{job_id}/retry",
    summary="Retry a job",
    status_code=202,
    response_model=JobObject,
    responses=NOT_FOUND | {409: ERROR | {"description": "The job is not failed, cancelled or expired."}},
)
async def retry(job_id: str, context: AppContext, project_id: Project) -> Response:
    """Try a failed, cancelled or expired job again, as a new job with the same seed. Asked twice, it is one new job."""
    row = await job_row(context, project_id, job_id)
    if row.status not in (JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED):
        raise JobNotRetryable(f"{job_id} is {row.status}; only a failed, cancelled or expired job can be retried.")
    again = request_of(row)
    await read_inputs(context, project_id, again)  # its images may be gone by now
    job = plan(again, context.catalog, context.settings, project_id, inputs=row.inputs, retried_from=job_id)
    try:
        new = (await context.database.execute(jobs.submit(job)))[0]
    except IntegrityError:
        new = (await context.database.execute(queries.get_retry(project_id, job_id)))[0]
    context.notifier.notify(job.queue)
    return accepted(render(context, new).model_dump_json(), new.id)


@router.delete("/{job_id}", summary="Delete a job", response_model=Deleted, responses=NOT_FOUND | {409: ERROR})
async def delete(job_id: str, context: AppContext, project_id: Project) -> Response:
    """Delete a final job, its images and their files."""
    row = await job_row(context, project_id, job_id)
    if not JobStatus(row.status).is_final:
        raise JobNotFinal(f"{job_id} is {row.status}; cancel it before you delete it.")
    if row.batch_id is not None and await context.database.execute(batches.find_open(row.batch_id)):
        raise BatchNotFinal(f"{job_id} is a line of {row.batch_id}, which has not ended; its files will speak of it.")
    await context.storage.delete_prefix(image_prefix(job_id))
    await context.database.execute(jobs.delete(project_id, job_id))
    return answer(Deleted(id=job_id, object="job"))
