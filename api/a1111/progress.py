"""`/sdapi/v1/progress`, `interrupt` and `skip`: what the caller's own open calls do."""

import asyncio
import base64
import io
import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from PIL import Image
from pydantic import BaseModel, Field

from api.a1111.callers import caller_id
from api.a1111.errors import ERRORS
from api.authentication import Caller, CurrentCaller, requires
from api.context import Context
from api.deps import AppContext
from api.responses import answer
from core import jobs
from core.redis.progress import Step
from core.rows.job import JobRow
from core.scopes import Scope
from core.status import JobStatus
from core.telemetry.job_metrics import record_ends

router = APIRouter(prefix="/sdapi/v1", tags=["webui"])

FIRST_STEP = 0.01
"""The progress of a job that is running, before its first step: 0 would mean that nothing runs."""

NO_STATE: dict[str, Any] = {
    "skipped": False,
    "interrupted": False,
    "stopping_generation": False,
    "job": "",
    "job_count": 0,
    "job_timestamp": "0",
    "job_no": 0,
    "sampling_step": 0,
    "sampling_steps": 0,
}


class Progress(BaseModel):
    """The newest of the caller's open calls."""

    progress: float = Field(
        description="From 0 to 1; 0 also while the job waits, and if there is none (`job_count` 0)."
    )
    eta_relative: float = Field(description="Estimated seconds until the end.")
    state: dict[str, Any] = Field(
        description="`job` (its id), `job_count`, `sampling_step`, `sampling_steps` and so on."
    )
    current_image: str | None = Field(None, description="The last preview as PNG in base64, if there is one.")
    textinfo: str | None = None


@router.get("/progress", summary="Progress of the newest call", response_model=Progress, responses=ERRORS)
@requires(Scope.READ)
async def progress(context: AppContext, caller: CurrentCaller, skip_current_image: bool = False) -> Response:
    """Tell of the newest call of this API key that waits for its images."""
    open_jobs = await _open_jobs(context, caller)
    if not open_jobs:
        return answer(Progress(progress=0.0, eta_relative=0.0, state=NO_STATE))
    row = open_jobs[-1]
    step = await context.listener.step(row.id) if row.status == JobStatus.IN_PROGRESS else None
    preview = None if skip_current_image or step is None else await context.listener.preview(row.id)
    image = None if preview is None else await _as_png(context, caller.project_id, preview["b64_json"])
    share = _share(row, step)
    return answer(
        Progress(
            progress=share,
            eta_relative=_eta(row, share),
            state=NO_STATE | _state(row, step),
            current_image=image,
            textinfo=_text(row),
        )
    )


def _share(row: JobRow, step: Step | None) -> float:
    """The part of the job that is done."""
    if row.status != JobStatus.IN_PROGRESS:
        return 0.0
    if step is None or step["attempt"] != row.attempts or not step["steps"]:
        return FIRST_STEP
    return min(max(FIRST_STEP, step["step"] / step["steps"]), 1.0)


def _eta(row: JobRow, share: float) -> float:
    """Seconds until the end: by the steps that are done or, before the first, by the estimate of the job."""
    if row.started_at is None or share <= FIRST_STEP:
        return round(row.cost, 3)
    elapsed = time.time() - row.started_at.timestamp()
    return round(max(0.0, elapsed / share - elapsed), 3)


def _state(row: JobRow, step: Step | None) -> dict[str, Any]:
    return {
        "interrupted": row.cancel_requested_at is not None,
        "job": row.id,
        "job_count": 1,
        "job_timestamp": row.created_at.strftime("%Y%m%d%H%M%S"),
        "sampling_step": 0 if step is None else step["step"],
        "sampling_steps": row.parameters.steps if step is None else step["steps"],
    }


def _text(row: JobRow) -> str | None:
    if row.status == JobStatus.IN_PROGRESS:
        return None
    return f"Waiting: {row.queue_position or 0} jobs come before this one."


async def _as_png(context: Context, project_id: str, webp: str) -> str:
    """A preview as PNG: most of the webui's clients expect it. The preview comes from a worker, not from a client."""

    def convert() -> str:
        buffer = io.BytesIO()
        with Image.open(io.BytesIO(base64.b64decode(webp)), formats=["WEBP"]) as image:
            image.save(buffer, "PNG", compress_level=1)
        return base64.b64encode(buffer.getvalue()).decode()

    return await context.threads.storage.run(project_id, convert)


async def _open_jobs(context: Context, caller: Caller) -> Sequence[JobRow]:
    """The jobs of the caller's open calls that are not final, the oldest first. They are read in one statement."""
    job_ids = await context.webui_state.list_jobs(caller_id(caller))
    rows = await asyncio.gather(*(context.job_reader.get(caller.project_id, job_id) for job_id in job_ids))
    return [row for row in rows if row is not None and not JobStatus(row.status).is_final]


@router.post("/interrupt", summary="Cancel the open calls", response_model=dict[str, Any], responses=ERRORS)
@requires(Scope.SUBMIT)
async def interrupt(context: AppContext, caller: CurrentCaller) -> Response:
    """Cancel the jobs of all open calls of this API key. Other keys and projects are not affected."""
    await _cancel(context, caller, await _open_jobs(context, caller))
    return JSONResponse({})


@router.post("/skip", summary="Cancel the oldest open call", response_model=None, responses=ERRORS)
@requires(Scope.SUBMIT)
async def skip(context: AppContext, caller: CurrentCaller) -> Response:
    """Cancel the job of the oldest open call of this API key; the next ones go on."""
    await _cancel(context, caller, (await _open_jobs(context, caller))[:1])
    return JSONResponse(None)


async def _cancel(context: Context, caller: Caller, rows: Sequence[JobRow]) -> None:
    for row in rows:
        if record_ends(await context.database.execute(jobs.cancel(caller.project_id, row.id))):
            await context.listener.publish_change(row.id)
