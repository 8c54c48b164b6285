"""`/v1/erasures`: delete all data of an end user. A batch is deleted in the same way (`DELETE /v1/batches/{id}`).

The sweep does the work (`worker/sweep/erase.py`), because it may take longer than a request may.
"""

from typing import Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from api.audit import event_of
from api.authentication import CurrentCaller, Project, requires
from api.context import Context
from api.deps import AppContext, Body
from api.openapi import REFERENCES
from api.responses import ERROR, answer
from core import audit
from core.audit import AuditType, NewAuditEvent
from core.erasures import records
from core.erasures.records import ErasureRow, Kind, NewErasure
from core.errors import NotFound
from core.requests.fields import MetadataValue
from core.requests.job import parse
from core.responses.job import seconds
from core.scopes import Scope

router = APIRouter(prefix="/v1/erasures", tags=["erasures"])


class ErasureRequest(BaseModel):
    """Whose data to delete."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra={"examples": [{"user": "user-4711"}]})

    user: MetadataValue = Field(
        description="The `user` of OpenAI's calls, which is the entry `user` of a job's metadata."
    )


class ErasureObject(BaseModel):
    """An erasure: what is deleted, and how much has been."""

    id: str
    object: Literal["erasure"] = "erasure"
    kind: Kind
    status: Literal["in_progress", "completed"]
    job_id: str | None = Field(None, description="Set if it is of a job.")
    batch_id: str | None = Field(None, description="Set if it is of a batch, or of a job that was a line.")
    counts: dict[str, int] = Field(description="What has been deleted so far, by kind.")
    created_at: int
    finished_at: int | None


async def submit_erasure(context: Context, new: NewErasure, event: NewAuditEvent) -> Response:
    """Store an erasure, which the sweep begins within seconds."""
    (row,) = await context.database.execute(audit.with_audit_event(records.submit(new), event))
    return answer(_erasure_object(row), 202, {"location": f"/v1/erasures/{row.id}"})


def _erasure_object(row: ErasureRow) -> ErasureObject:
    return ErasureObject(
        id=row.id,
        kind=row.kind,
        status="in_progress" if row.finished_at is None else "completed",
        job_id=row.subject if row.kind == "job" else None,
        batch_id=row.subject if row.kind == "batch" else row.batch_id,
        counts=dict(row.counts),
        created_at=int(row.created_at.timestamp()),
        finished_at=seconds(row.finished_at),
    )


@router.post(
    "",
    summary="Delete all data of an end user",
    status_code=202,
    response_model=ErasureObject,
    responses={202: {"description": "The erasure is stored in the database. `Location` is its path."}},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ErasureRequest.model_json_schema(ref_template=REFERENCES)}},
        }
    },
)
@requires(Scope.SUBMIT)
async def create(body: Body, context: AppContext, caller: CurrentCaller) -> Response:
    """Delete the jobs of an end user with their images, inputs, events and lines of batches.

    Jobs that are not final are cancelled first. The response comes before the data is deleted.
    """
    project_id = caller.project_id
    request = parse(ErasureRequest, body)
    return await submit_erasure(
        context, NewErasure(project_id, "user", request.user), event_of(caller, AuditType.USER_ERASED)
    )


@router.get(
    "/{erasure_id}",
    summary="Get an erasure",
    response_model=ErasureObject,
    responses={404: ERROR | {"description": "Your project has no such erasure."}},
)
@requires(Scope.READ)
async def fetch(erasure_id: str, context: AppContext, project_id: Project) -> Response:
    """Get an erasure: its status and what has been deleted so far."""
    rows = await context.database.execute(records.get(project_id, erasure_id))
    if not rows:
        raise NotFound(f"There is no erasure {erasure_id!r}.", param="id")
    return answer(_erasure_object(rows[0]))
