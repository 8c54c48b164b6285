"""`/v1/batches`: OpenAI's Batch API for images. A batch can also be prompts only, or requests without a file.

Submission is in `api/batches/submission.py`, dry runs in `api/batches/estimate.py`, the event stream in
`api/batches/events.py`, and the downloads in `api/batches/downloads.py`.
"""

import json
from contextlib import suppress
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.audit import event_of
from api.authentication import CurrentCaller, Project, requires
from api.batches.estimate import estimate
from api.batches.submission import KeyedRequest, insert_batch, read_body, submit
from api.context import Context
from api.deps import AppContext, body_up_to
from api.erasures import ErasureObject, submit_erasure
from api.jobs.idempotency import REPLAY_HEADERS, Key, lookup
from api.openapi import REFERENCES
from api.pagination import AfterBatch, check_after
from api.responses import ERROR, answer
from core import idempotency
from core.audit import AuditType
from core.batches import queries as batch_queries
from core.batches import transitions as batches
from core.batches.requests import BatchRequest
from core.batches.schemas import BatchEstimate, BatchList, BatchObject, batch_list, batch_object, batch_urls
from core.batches.transitions import NewBatch
from core.db import ConstraintViolation
from core.erasures.records import NewErasure
from core.errors import BatchNotFinal, BatchNotRetryable, IdempotencyConflict, NotFound, UnknownParameter
from core.rows.batch import ShownBatch
from core.scopes import Scope
from core.status import BatchStatus, JobStatus
from core.text import quote

router = APIRouter(prefix="/v1/batches", tags=["batches"])

NO_BATCH: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "Your project has no such batch."}}
TOO_MANY: dict[int | str, dict[str, Any]] = {
    429: ERROR | {"description": "SAFELIGHT_MAX_BATCHES batches of your project are in progress."}
}
JSON_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": BatchRequest.model_json_schema(ref_template=REFERENCES)}},
    }
}


@router.post(
    "",
    summary="Submit a batch",
    response_model=BatchObject | BatchEstimate,
    responses=TOO_MANY
    | {
        200: {"description": "The batch is stored in the database; or the estimate, if `dry_run` is true."},
        404: ERROR | {"description": "What the first request with this Idempotency-Key created has been deleted."},
        409: ERROR | {"description": "Another request with this Idempotency-Key is in progress."},
        413: ERROR,
        422: ERROR | {"description": "This Idempotency-Key was used with a different request."},
    },
    openapi_extra=JSON_BODY,
)
@requires(Scope.SUBMIT)
async def create(request: Request, context: AppContext, caller: CurrentCaller, idempotency_key: Key = None) -> Response:
    """Submit many prompts or requests at once.

    Prompts are validated and queued before the response. Requests, and the lines of a file, are validated after the
    response: the status becomes `in_progress`, or `failed` with the errors of all lines.
    """
    project_id = caller.project_id
    content = await body_up_to(request, context.settings.max_batch_body_bytes)
    body = await read_body(context, project_id, content)
    batch_request = body.request
    if batch_request.dry_run:
        return answer(await estimate(context, project_id, batch_request, body.lines))
    keyed_request: KeyedRequest | None = None
    if idempotency_key is not None:
        keyed_request = KeyedRequest(idempotency.check(idempotency_key), body.fingerprint)
        if response := await _replay(context, project_id, keyed_request):
            return response
    batch = await submit(context, caller, batch_request, keyed_request, body.lines)
    if batch is not None:
        return answer(batch)
    response = None if keyed_request is None else await _replay(context, project_id, keyed_request)
    if response is None:
        raise IdempotencyConflict
    return response


async def _replay(context: Context, project_id: str, keyed_request: KeyedRequest) -> Response | None:
    """The response that is stored under a key, if there is one. Raises IdempotencyMismatch."""
    batch = await lookup(context, project_id, keyed_request.key, keyed_request.fingerprint)
    if batch is None:
        return None
    # The first request may have had another address, even one that its sender invented.
    urls = batch_urls(batch["id"], context.base_url).model_dump()
    return Response(json.dumps({**batch, "urls": urls}), media_type="application/json", headers=REPLAY_HEADERS)


@router.get("", summary="List batches", response_model=BatchList)
@requires(Scope.READ)
async def page(
    request: Request,
    context: AppContext,
    project_id: Project,
    limit: Annotated[int, Ge(1), Le(100), Query(description="Maximum number of batches.")] = 20,
    after: AfterBatch = None,
) -> Response:
    """List batches, newest first."""
    if unknown := request.query_params.keys() - {"limit", "after"}:
        name = min(unknown)
        raise UnknownParameter(f"{name} is not a parameter here. Known are: after, limit.", param=name)
    await check_after(context, project_id, "batch", after)
    rows = await context.database.execute(batch_queries.list_batches(project_id, limit=limit + 1, after=after))
    objects = [batch_object(row, context.base_url) for row in rows[:limit]]
    return answer(batch_list(objects, has_more=len(rows) > limit))


@router.get("/{batch_id}", summary="Get a batch", response_model=BatchObject, responses=NO_BATCH)
@requires(Scope.READ)
async def fetch(batch_id: str, context: AppContext, project_id: Project) -> Response:
    """Get a batch: its status, counts, rate and output files."""
    return answer(await show(context, project_id, batch_id))


@router.post("/{batch_id}/cancel", summary="Cancel a batch", response_model=BatchObject, responses=NO_BATCH)
@requires(Scope.SUBMIT)
async def cancel(batch_id: str, context: AppContext, project_id: Project) -> Response:
    """Cancel a batch and its queued and running jobs. Finished results are written to its output files.

    A final batch is unchanged.
    """
    if await context.database.execute(batches.cancel(project_id, batch_id)):
        await context.listener.publish_change(batch_id)
    return answer(await show(context, project_id, batch_id))


@router.post(
    "/{batch_id}/retry",
    summary="Retry a batch's failed lines",
    response_model=BatchObject,
    responses=NO_BATCH | TOO_MANY | {409: ERROR | {"description": "The batch is not final, or no line failed."}},
)
@requires(Scope.SUBMIT)
async def retry(batch_id: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Create a new batch of the lines that did not complete. A second retry returns the same batch."""
    project_id = caller.project_id
    row = await batch_row(context, project_id, batch_id)
    if not BatchStatus(row.status).is_final:
        raise BatchNotFinal(f"{batch_id} is {row.status}; its lines can be retried when it is final.")
    if not sum(row.counts.values()) - row.counts.get(JobStatus.COMPLETED, 0):
        raise BatchNotRetryable
    new_batch = NewBatch(
        project_id=project_id,
        endpoint=row.endpoint,
        completion_window=row.completion_window,
        parameters=row.parameters,
        response_format=row.response_format,
        output_ttl=row.output_ttl,
        metadata=row.metadata,
        webhook=row.webhook,
        retried_from=row.id,
        api_key_id=caller.key_id,
    )
    if not await context.database.execute(batch_queries.get_retry(project_id, batch_id)):
        queues = {model.queue for model in context.catalog.models if model.id == row.model}
        for queue in queues:  # none if the lines have several models: then the retry is worked off
            await context.draining_queues.check(queue)
        with suppress(ConstraintViolation):  # another request was first
            await insert_batch(context, new_batch)
    (retry_row,) = await context.database.execute(batch_queries.get_retry(project_id, batch_id))
    return answer(batch_object(retry_row, context.base_url))


async def show(context: Context, project_id: str, batch_id: str) -> BatchObject:
    """The current state of a batch. Raises NotFound."""
    return batch_object(await batch_row(context, project_id, batch_id), context.base_url)


@router.delete(
    "/{batch_id}",
    summary="Delete a batch",
    status_code=202,
    response_model=ErasureObject,
    responses=NO_BATCH | {202: {"description": "The erasure is stored in the database. `Location` is its path."}},
)
@requires(Scope.SUBMIT)
async def delete(batch_id: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Delete a batch with its jobs, images and files. It is cancelled first if it is not final.

    The response comes before the data is deleted; `GET /v1/erasures/{id}` shows the progress.
    """
    project_id = caller.project_id
    await batch_row(context, project_id, batch_id)
    return await submit_erasure(
        context,
        NewErasure(project_id, "batch", batch_id),
        event_of(caller, AuditType.BATCH_DELETED, batch_id),
    )


async def batch_row(context: Context, project_id: str, batch_id: str) -> ShownBatch:
    """A batch's row, with its counts. Raises NotFound."""
    rows = await context.database.execute(batch_queries.get_batch(project_id, batch_id))
    if not rows:
        raise NotFound(f"There is no batch {quote(batch_id)}.", param="id")
    return rows[0]
