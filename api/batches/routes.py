"""`/v1/batches`: OpenAI's Batch API for images, with two more doors: prompts, and requests without a file.

How a batch comes in is in `api/batches/submission.py`, what a dry run says in `api/batches/estimate.py`, how one is
followed in `api/batches/events.py`, and what is fetched of it in `api/batches/downloads.py`.
"""

import asyncio
import json
from contextlib import suppress
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from sqlalchemy.exc import IntegrityError

from api.batches.estimate import estimate
from api.batches.submission import KeyedRequest, enter, submit
from api.context import Context
from api.deps import AppContext, Project, body_up_to
from api.jobs.idempotency import REPLAYED, Key, lookup
from api.openapi import REFERENCES
from api.responses import ERROR, answer
from core import idempotency
from core.batches import transitions as batches
from core.batches.requests import BatchRequest
from core.batches.schemas import BatchEstimate, BatchList, BatchObject, batch_list, batch_object
from core.batches.transitions import NewBatch
from core.errors import BatchNotFinal, BatchNotRetryable, IdempotencyConflict, NotFound, UnknownParameter
from core.requests.job import parse
from core.rows import ShownBatch
from core.status import BatchStatus, JobStatus

router = APIRouter(prefix="/v1/batches", tags=["batches"])

NO_BATCH: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "No such batch in your project."}}
TOO_MANY: dict[int | str, dict[str, Any]] = {429: ERROR | {"description": "SAFELIGHT_MAX_BATCHES are under way."}}
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
        200: {"description": "The batch is in the database; or, with `dry_run`, what is known of it."},
        409: ERROR | {"description": "A request with this Idempotency-Key is being worked on."},
        413: ERROR,
        422: ERROR | {"description": "This Idempotency-Key came with another request before."},
    },
    openapi_extra=JSON_BODY,
)
async def create(request: Request, context: AppContext, project_id: Project, idempotency_key: Key = None) -> Response:
    """Submit many prompts or requests at once.

    Prompts are checked and put in line before the answer comes. The lines of a file, and requests, are checked right
    after it: watch for `in_progress`, or for `failed` with every line that is wrong.
    """
    body = await body_up_to(request, context.settings.max_batch_body_bytes)
    wanted = await asyncio.to_thread(parse, BatchRequest, body)
    if wanted.dry_run:
        return answer(await estimate(context, project_id, wanted))
    keyed_request: KeyedRequest | None = None
    if idempotency_key is not None:
        keyed_request = KeyedRequest(idempotency.check(idempotency_key), await asyncio.to_thread(_mark, wanted))
        if replayed := await _replayed(context, project_id, keyed_request):
            return replayed
    made = await submit(context, project_id, wanted, keyed_request)
    if made is not None:
        return answer(made)
    replayed = None if keyed_request is None else await _replayed(context, project_id, keyed_request)
    if replayed is None:
        raise IdempotencyConflict
    return replayed


def _mark(wanted: BatchRequest) -> bytes:
    return idempotency.fingerprint("/v1/batches", wanted.model_dump(mode="json", exclude_unset=True))


async def _replayed(context: Context, project_id: str, keyed_request: KeyedRequest) -> Response | None:
    """The answer that is kept under a key, if there is one. Raises IdempotencyMismatch."""
    kept = await lookup(context, project_id, keyed_request.key, keyed_request.fingerprint)
    return None if kept is None else Response(json.dumps(kept), media_type="application/json", headers=REPLAYED)


@router.get("", summary="List batches", response_model=BatchList)
async def page(
    request: Request,
    context: AppContext,
    project_id: Project,
    limit: Annotated[int, Ge(1), Le(100), Query(description="Most batches in the answer.")] = 20,
    after: Annotated[str | None, Query(description="Id of the last batch of the page before.")] = None,
) -> Response:
    """Batches, newest first."""
    if unknown := request.query_params.keys() - {"limit", "after"}:
        name = min(unknown)
        raise UnknownParameter(f"{name} is not a parameter here. Known are: after, limit.", param=name)
    rows = await context.database.execute(batches.list_batches(project_id, limit=limit + 1, after=after))
    shown = [batch_object(row, context.settings.base_url) for row in rows[:limit]]
    return answer(batch_list(shown, has_more=len(rows) > limit))


@router.get("/{batch_id}", summary="Fetch a batch", response_model=BatchObject, responses=NO_BATCH)
async def fetch(batch_id: str, context: AppContext, project_id: Project) -> Response:
    """A batch as it is now: its counts, how fast it goes, its files."""
    return answer(await show(context, project_id, batch_id))


@router.post("/{batch_id}/cancel", summary="Cancel a batch", response_model=BatchObject, responses=NO_BATCH)
async def cancel(batch_id: str, context: AppContext, project_id: Project) -> Response:
    """Stop a batch: what waits and what is drawn. What is ready already is written to its files.

    Idempotent: one that has ended stays as it is.
    """
    if await context.database.execute(batches.cancel(project_id, batch_id)):
        await context.listener.changed(batch_id)
    return answer(await show(context, project_id, batch_id))


@router.post(
    "/{batch_id}/retry",
    summary="Try a batch's failed lines again",
    response_model=BatchObject,
    responses=NO_BATCH | TOO_MANY | {409: ERROR | {"description": "It has not ended, or nothing failed."}},
)
async def retry(batch_id: str, context: AppContext, project_id: Project) -> Response:
    """A new batch of the lines that did not complete, each as it was asked for. Asked again, it is the same batch."""
    row = await batch_row(context, project_id, batch_id)
    if not BatchStatus(row.status).is_final:
        raise BatchNotFinal(f"{batch_id} is {row.status}; its lines can be tried again once it has ended.")
    if not sum(row.counts.values()) - row.counts.get(JobStatus.COMPLETED, 0):
        raise BatchNotRetryable
    again = NewBatch(
        project_id=project_id,
        endpoint=row.endpoint,
        completion_window=row.completion_window,
        parameters=row.parameters,
        response_format=row.response_format,
        output_ttl=row.output_ttl,
        metadata=row.metadata,
        webhook=row.webhook,
        retried_from=row.id,
    )
    if not await context.database.execute(batches.get_retry(project_id, batch_id)):
        with suppress(IntegrityError):  # another request was first
            await enter(context, again)
    (made,) = await context.database.execute(batches.get_retry(project_id, batch_id))
    return answer(batch_object(made, context.settings.base_url))


async def show(context: Context, project_id: str, batch_id: str) -> BatchObject:
    """A batch as it is now. Raises NotFound."""
    return batch_object(await batch_row(context, project_id, batch_id), context.settings.base_url)


async def batch_row(context: Context, project_id: str, batch_id: str) -> ShownBatch:
    """A batch's row, with its counts. Raises NotFound."""
    rows = await context.database.execute(batches.get_batch(project_id, batch_id))
    if not rows:
        raise NotFound(f"There is no batch {batch_id!r}.", param="id")
    return rows[0]
