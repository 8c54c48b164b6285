"""`/v1/fine_tuning/jobs`: OpenAI's fine-tuning API, for LoRAs of image models."""

import secrets
from typing import Annotated, Any

from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from api.authentication import CurrentCaller, Project, requires
from api.context import Context
from api.deps import AppContext, Body
from api.jobs.idempotency import REPLAY_HEADERS, Key, lookup, store
from api.openapi import REFERENCES
from api.pagination import AfterCheckpoint, AfterFineTuningEvent, AfterFineTuningJob, check_after
from api.responses import ERROR, answer
from core import files, idempotency
from core.errors import IdempotencyConflict, InvalidParameter, NotFound, UnknownParameter
from core.fine_tuning import queries, transitions
from core.fine_tuning.hyperparameters import complete, estimated_cost
from core.fine_tuning.requests import MAX_SEED, FineTuningRequest
from core.fine_tuning.rows import FineTuningJobRow
from core.fine_tuning.schemas import (
    CheckpointList,
    FineTuningEventList,
    FineTuningJobList,
    FineTuningJobObject,
    checkpoint_list,
    event_object,
    job_object,
)
from core.fine_tuning.transitions import NewFineTuningJob
from core.limit_errors import TooManyFineTuningJobs
from core.limits import Amount
from core.requests.job import parse
from core.scopes import Scope
from core.text import quote

router = APIRouter(prefix="/v1/fine_tuning/jobs", tags=["fine-tuning"])

PATH = "/v1/fine_tuning/jobs"
NO_JOB: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "Your project has no such fine-tuning job."}}
JSON_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": FineTuningRequest.model_json_schema(ref_template=REFERENCES)}},
    }
}
Limit = Annotated[int, Ge(1), Le(100), Query(description="Maximum number of entries.")]


@router.post(
    "",
    summary="Create a fine-tuning job",
    response_model=FineTuningJobObject,
    responses={
        404: ERROR | {"description": "What the first request with this Idempotency-Key created has been deleted."},
        409: ERROR | {"description": "Another request with this Idempotency-Key is in progress."},
        413: ERROR,
        422: ERROR | {"description": "This Idempotency-Key was used with a different request."},
        429: ERROR
        | {"description": "SAFELIGHT_MAX_FINE_TUNING_JOBS jobs of your project are not final, or a limit is used up."},
    },
    openapi_extra=JSON_BODY,
)
@requires(Scope.SUBMIT)
async def create(body: Body, context: AppContext, caller: CurrentCaller, idempotency_key: Key = None) -> Response:
    """Train a LoRA of a model on images of your own. A worker reads the training file after the response."""
    request = parse(FineTuningRequest, body)
    key = None if idempotency_key is None else idempotency.check(idempotency_key)
    fingerprint = idempotency.fingerprint(PATH, request.model_dump(mode="json", exclude_unset=True)) if key else b""
    if key and (earlier := await _replay(context, caller.project_id, key, fingerprint)):
        return earlier
    new_job = await _new_job(context, caller.project_id, caller.key_id, request)
    async with context.database.transaction() as transaction:
        amount = Amount(device_seconds=new_job.cost)
        await context.limits.reserve(transaction, caller.project_id, caller.key_id, amount)
        rows = await transaction.execute(transitions.submit(new_job, context.settings.max_fine_tuning_jobs))
        if not rows:
            raise TooManyFineTuningJobs
        content = job_object(rows[0])
        is_first = key is None or await store(
            context, transaction, caller.project_id, key, fingerprint, content.model_dump(mode="json")
        )
    if is_first:
        return answer(content)
    replay = await _replay(context, caller.project_id, key or "", fingerprint)
    if replay is None:
        raise IdempotencyConflict
    return replay


async def _replay(context: Context, project_id: str, key: str, fingerprint: bytes) -> Response | None:
    """The response that is stored under a key, if there is one. Raises IdempotencyMismatch."""
    content = await lookup(context, project_id, key, fingerprint)
    if content is None:
        return None
    return answer(FineTuningJobObject.model_validate(content), headers=REPLAY_HEADERS)


async def _new_job(
    context: Context, project_id: str, key_id: str | None, request: FineTuningRequest
) -> NewFineTuningJob:
    """The job of a request. Raises ModelNotFound, InvalidParameter."""
    model = context.catalog.model(request.model)
    complete(request.training, model, context.settings.max_training_images, request.training_param, is_estimate=True)
    rows = await context.database.execute(files.get_file(project_id, request.training_file))
    if not rows:
        raise InvalidParameter(
            f"training_file: there is no file {quote(request.training_file)}.", param="training_file"
        )
    if rows[0].purpose != "fine-tune":
        raise InvalidParameter(
            f"training_file has the purpose {rows[0].purpose!r}; upload it with the purpose 'fine-tune'.",
            param="training_file",
        )
    return NewFineTuningJob(
        project_id=project_id,
        api_key_id=key_id,
        model=model.id,
        training_file=request.training_file,
        validation_file=request.validation_file,
        suffix=request.suffix,
        seed=secrets.randbelow(MAX_SEED) if request.seed is None else request.seed,
        request={"values": request.training.model_dump(exclude_none=True), "param": request.training_param},
        metadata=request.metadata or {},
        warnings=request.warnings,
        cost=estimated_cost(model, request.training.steps),
    )


@router.get("", summary="List fine-tuning jobs", response_model=FineTuningJobList)
@requires(Scope.READ)
async def page(
    request: Request, context: AppContext, project_id: Project, limit: Limit = 20, after: AfterFineTuningJob = None
) -> Response:
    """List jobs, newest first. `metadata[key]=value` selects jobs with this metadata, `metadata=null` those without."""
    await check_after(context, project_id, "fine-tuning job", after)
    metadata = _metadata_filter(request)
    rows = await context.database.execute(
        queries.list_jobs(project_id, limit=limit + 1, after=after, metadata=metadata)
    )
    return answer(FineTuningJobList(data=[job_object(row) for row in rows[:limit]], has_more=len(rows) > limit))


def _metadata_filter(request: Request) -> dict[str, str] | None:
    """The entries that jobs must have; empty: jobs without metadata; None: all jobs. Raises UnknownParameter."""
    pairs: dict[str, str] = {}
    is_null = False
    for name, value in request.query_params.multi_items():
        if name.startswith("metadata[") and name.endswith("]"):
            pairs[name[len("metadata[") : -1]] = value
        elif name == "metadata":
            if value != "null":
                raise InvalidParameter("metadata must be null, or metadata[key]=value.", param="metadata")
            is_null = True
        elif name not in ("limit", "after"):
            raise UnknownParameter(
                f"{name} is not a parameter here. Known are: after, limit, metadata[key].", param=name
            )
    if is_null and pairs:
        raise InvalidParameter("metadata=null and metadata[key] must not both be set.", param="metadata")
    return pairs or ({} if is_null else None)


@router.get("/{job_id}", summary="Get a fine-tuning job", response_model=FineTuningJobObject, responses=NO_JOB)
@requires(Scope.READ)
async def fetch(job_id: str, context: AppContext, project_id: Project) -> Response:
    """Get a job: its status, step, hyperparameters and model."""
    return answer(job_object(await _row(context, project_id, job_id)))


@router.post(
    "/{job_id}/cancel", summary="Cancel a fine-tuning job", response_model=FineTuningJobObject, responses=NO_JOB
)
@requires(Scope.SUBMIT)
async def cancel(job_id: str, context: AppContext, project_id: Project) -> Response:
    """Cancel a job; a running training stops at its next step, and its checkpoints stay. A final job is unchanged."""
    await context.database.execute(transitions.cancel(project_id, job_id))
    return answer(job_object(await _row(context, project_id, job_id)))


@router.get("/{job_id}/events", summary="List events of a job", response_model=FineTuningEventList, responses=NO_JOB)
@requires(Scope.READ)
async def events(
    job_id: str, context: AppContext, project_id: Project, limit: Limit = 20, after: AfterFineTuningEvent = None
) -> Response:
    """List the events of a job, newest first: messages, and the losses of its steps."""
    await _row(context, project_id, job_id)
    if after is not None and not await context.database.execute(queries.find_event(job_id, after)):
        raise InvalidParameter(f"after: the job has no event {after!r}.", param="after")
    rows = await context.database.execute(queries.list_events(job_id, limit=limit + 1, after=after))
    return answer(FineTuningEventList(data=[event_object(row) for row in rows[:limit]], has_more=len(rows) > limit))


@router.get(
    "/{job_id}/checkpoints", summary="List checkpoints of a job", response_model=CheckpointList, responses=NO_JOB
)
@requires(Scope.READ)
async def checkpoints(
    job_id: str, context: AppContext, project_id: Project, limit: Limit = 10, after: AfterCheckpoint = None
) -> Response:
    """List the checkpoints of a job, the last one first. Each is a model that requests can name."""
    await _row(context, project_id, job_id)
    if after is not None and not await context.database.execute(queries.find_checkpoint(job_id, after)):
        raise InvalidParameter(f"after: the job has no checkpoint {after!r}.", param="after")
    rows = await context.database.execute(queries.list_checkpoints(job_id, limit=limit + 1, after=after))
    return answer(checkpoint_list(rows[:limit], has_more=len(rows) > limit))


async def _row(context: Context, project_id: str, job_id: str) -> FineTuningJobRow:
    rows = await context.database.execute(queries.get_job(project_id, job_id))
    if not rows:
        raise NotFound(f"There is no fine-tuning job {quote(job_id)}.", param="id")
    return rows[0]
