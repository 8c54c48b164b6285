"""`POST /v1/jobs/{id}/reproduce`: draws the images of a job again, from its receipts, and compares them."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response

from api.authentication import CurrentCaller, requires
from api.deps import AppContext, Body
from api.fine_tuning.models import catalog_for
from api.inputs import read_inputs
from api.jobs.idempotency import Key
from api.jobs.routes import NOT_FOUND, accept_with_key, estimate_of, replay, submit_job
from api.jobs.waiting import job_row
from api.openapi import REFERENCES
from api.responses import ERROR, answer, render_json, respond_accepted
from core import idempotency
from core.requests.inputs import Inputs
from core.requests.job import parse
from core.requests.plan import plan, request_of
from core.requests.reproduction import ReproduceRequest, reproduction_of
from core.responses.job import Estimate, JobObject
from core.scopes import Scope

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

RESPONSES: dict[int | str, dict[str, Any]] = NOT_FOUND | {
    200: {"model": Estimate, "description": "The estimate, if `dry_run` is true. Nothing is stored."},
    202: {"description": "The new job is stored in the database. `Location` is its path."},
    409: ERROR
    | {"description": "The job is not completed, a provider generated it, or its Idempotency-Key is in progress."},
    422: ERROR | {"description": "This Idempotency-Key was used with a different request."},
}
JSON_BODY = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": ReproduceRequest.model_json_schema(ref_template=REFERENCES)}},
    }
}


@router.post(
    "/{job_id}/reproduce",
    summary="Draw a job's images again",
    status_code=202,
    response_model=JobObject,
    responses=RESPONSES,
    openapi_extra=JSON_BODY,
)
@requires(Scope.SUBMIT)
async def reproduce(
    job_id: str, body: Body, context: AppContext, caller: CurrentCaller, idempotency_key: Key = None
) -> Response:
    """Draw the images of a completed job again as a new job. Its `reproduction` says whether they are identical."""
    project_id = caller.project_id
    options = parse(ReproduceRequest, body or b"{}")
    key = None if idempotency_key is None or options.dry_run else idempotency.check(idempotency_key)
    fingerprint = idempotency.fingerprint(f"/v1/jobs/{job_id}/reproduce", options.model_dump()) if key else b""
    # The original may be deleted by now.
    if key and (response := await replay(context, project_id, key, fingerprint)):
        return response
    row = await job_row(context, project_id, job_id)
    catalog = await catalog_for(context, project_id, request_of(row))
    request, reproduces = reproduction_of(row, options.image, catalog)
    await read_inputs(context, project_id, request)  # its input images may be deleted by now
    job = plan(
        request,
        catalog,
        context.settings,
        project_id,
        inputs=row.inputs,
        api_key_id=caller.key_id,
        reproduces=reproduces,
        is_repeat=True,
    )
    if options.dry_run:
        return answer(await estimate_of(context, job))
    if key:
        return await accept_with_key(context, job, Inputs(dict(row.inputs)), key, fingerprint)
    new_row = await submit_job(context, job, Inputs())
    return respond_accepted(render_json(context, new_row), new_row.id)
