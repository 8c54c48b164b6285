"""`/v1/admin/jobs`: cancel or retry all jobs that match a filter, after they were counted."""

from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from api.audit import event_of
from api.authentication import CurrentCaller, requires
from api.context import Context
from api.deps import AppContext, Body
from api.openapi import REFERENCES
from api.responses import ERROR, answer
from api.submission import log_submitted
from core import audit, bulk_actions, pauses
from core import jobs as verbs
from core.audit import AuditType
from core.db import ConstraintViolation
from core.new_job import NewJob
from core.requests.bulk import BulkAction, BulkRequest, BulkToken, JobFilter, decode_token
from core.requests.job import parse
from core.rows.job import JobRow
from core.scopes import Scope
from core.telemetry.job_metrics import record_ends

router = APIRouter(prefix="/v1/admin/jobs", tags=["admin"])

JSON_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": BulkRequest.model_json_schema(ref_template=REFERENCES)}},
    }
}


class AdminBulkCount(BaseModel):
    """How many jobs a filter matches."""

    object: Literal["admin.bulk_count"] = "admin.bulk_count"
    action: BulkAction
    jobs: int
    is_exact: bool = Field(description="False: there may be more; the newest of each status were counted.")
    token: str = Field(description="Send it to change these jobs, and no later ones.")


class AdminBulkStep(BaseModel):
    """What a call has changed."""

    object: Literal["admin.bulk_step"] = "admin.bulk_step"
    action: BulkAction
    jobs: int = Field(description="Jobs that were cancelled, or submitted again.")
    skipped_jobs: dict[str, int] = Field(description="Jobs that could not be retried, by reason.")
    token: str | None = Field(description="Send it for the next jobs. Null: all are done.")


@router.post(
    "/cancel",
    summary="Cancel jobs by filter",
    response_model=AdminBulkCount | AdminBulkStep,
    responses={400: ERROR},
    openapi_extra=JSON_BODY,
)
@requires(Scope.ADMIN)
async def cancel_jobs(body: Body, context: AppContext, caller: CurrentCaller) -> Response:
    """Count the jobs of all projects that match a filter; with the token of the answer, cancel some hundred of them."""
    request = parse(BulkRequest, body)
    if request.token is None:
        return await _count(context, "cancel", request.filter)
    token = decode_token(request.token, "cancel")
    job_ids, following = bulk_actions.next_cancel(token, await context.database.execute(bulk_actions.list_open(token)))
    async with context.database.transaction() as transaction:
        rows = await transaction.execute(verbs.cancel_named_jobs(job_ids))
        event = event_of(caller, AuditType.JOBS_CANCELLED, None, **bulk_actions.audit_data(token, len(rows)))
        await transaction.execute(audit.record(event))
    for row in record_ends(rows):
        await context.listener.publish_change(row.id)
    return _step("cancel", len(rows), {}, following)


@router.post(
    "/retry",
    summary="Retry jobs by filter",
    response_model=AdminBulkCount | AdminBulkStep,
    responses={400: ERROR},
    openapi_extra=JSON_BODY,
)
@requires(Scope.ADMIN)
async def retry_jobs(body: Body, context: AppContext, caller: CurrentCaller) -> Response:
    """Count the jobs of all projects that match a filter; with the token of the answer, submit some hundred again.

    Limits of projects do not apply. Jobs that were retried before are left out.
    """
    request = parse(BulkRequest, body)
    if request.token is None:
        return await _count(context, "retry", request.filter)
    token = decode_token(request.token, "retry")
    database = context.database
    job_ids, following = bulk_actions.next_token(token, await database.execute(bulk_actions.list_ended(token)))
    old_rows = await database.execute(bulk_actions.list_jobs(job_ids))
    input_ids = await database.execute(bulk_actions.list_inputs(old_rows))
    draining_queues = pauses.draining_queues(await database.execute(pauses.list_pauses()))
    models = await database.execute(bulk_actions.list_fine_tuned(old_rows))
    new_jobs, skipped_jobs = bulk_actions.plan_retries(
        old_rows, input_ids, draining_queues, models, context.catalog, context.settings
    )
    rows = await _submit(context, new_jobs)
    if len(rows) < len(new_jobs):
        skipped_jobs["retried_before"] += len(new_jobs) - len(rows)
    event = event_of(caller, AuditType.JOBS_RETRIED, None, **bulk_actions.audit_data(token, len(rows)))
    await database.execute(audit.record(event))
    for row in rows:
        log_submitted(row)
    for queue in {row.queue for row in rows}:
        context.notifier.notify(queue)
    return _step("retry", len(rows), skipped_jobs, following)


async def _count(context: Context, action: BulkAction, selection: JobFilter | None) -> Response:
    assert selection is not None  # noqa: S101 - the request has a filter if it has no token
    (row,) = await context.database.execute(bulk_actions.count(action, selection))
    token = BulkToken(action=action, filter=selection, until=row.now).encode()
    return answer(AdminBulkCount(action=action, jobs=row.jobs, is_exact=row.is_exact, token=token))


def _step(action: BulkAction, changed_jobs: int, skipped_jobs: dict[str, int], following: BulkToken | None) -> Response:
    token = None if following is None else following.encode()
    return answer(AdminBulkStep(action=action, jobs=changed_jobs, skipped_jobs=skipped_jobs, token=token))


async def _submit(context: Context, new_jobs: list[NewJob]) -> list[JobRow]:
    """Submit jobs. Those that were retried by someone else in the meantime are left out."""
    try:
        async with context.database.transaction() as transaction:
            return [row for statement in bulk_actions.submits(new_jobs) for row in await transaction.execute(statement)]
    except ConstraintViolation:
        rows: list[JobRow] = []
        for job in new_jobs:
            try:
                rows += await context.database.execute(bulk_actions.submits([job])[0])
            except ConstraintViolation:
                continue
        return rows
