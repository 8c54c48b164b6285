"""`/v1/admin`: queues and workers of all projects, for operators; pause, drain and resume them."""

from datetime import datetime
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from api.audit import event_of
from api.authentication import CurrentCaller, requires
from api.context import Context
from api.deps import AppContext
from api.responses import ERROR, answer
from core import audit, pauses
from core.audit import AuditType
from core.errors import NotFound
from core.pauses import PauseKind, PauseState, State
from core.reports import queue_reports
from core.reports.queue_reports import MAX_DEPTH, RATE_WINDOW, QueueReport, WorkerReport
from core.responses.job import seconds
from core.scopes import Scope
from core.text import quote
from core.workers import count_by_queue

router = APIRouter(prefix="/v1/admin", tags=["admin"])


class AdminQueue(BaseModel):
    """A queue, with the jobs of all projects."""

    object: Literal["admin.queue"] = "admin.queue"
    name: str
    state: State = Field(
        description="`paused`: nothing is claimed; jobs are accepted. `draining`: jobs are refused, and those that "
        "wait are worked off; then it is `drained`."
    )
    depth: int = Field(description=f"Jobs that wait, counted up to {MAX_DEPTH}.")
    in_progress: int
    oldest_seconds: float | None = Field(description="How long the oldest job that waits has been in the database.")
    finished_per_minute: float = Field(description="Jobs that ended in the last five minutes, per minute.")
    drain_seconds: float | None = Field(
        description="Until the jobs that wait have ended at this rate. Null: nothing is claimed, or nothing ended."
    )
    workers: int
    ready_workers: int = Field(description="Workers that have loaded their first model.")


class AdminMicrobatch(BaseModel):
    """Jobs that a worker claimed together."""

    job_ids: list[str]
    model: str
    started_at: int
    lease_expires_at: int


class AdminWorker(BaseModel):
    """A worker that runs."""

    object: Literal["admin.worker"] = "admin.worker"
    name: str = Field(description="Host and process id.")
    host: str
    queues: list[str]
    state: State = Field(
        description="`paused` and `draining`: it claims nothing. `drained`: it drains and has no micro-batch in hand."
    )
    is_ready: bool = Field(description="Whether it has loaded its first model.")
    is_idle: bool = Field(description="Whether it has no micro-batch in hand.")
    device: str | None = Field(description="Name of its device. Null: no model is loaded yet, or it has no device.")
    loaded_models: list[str] = Field(description="Models on the device; the one that was used last comes last.")
    resident_bytes: int | None = Field(description="RAM of the process.")
    device_bytes: int | None = Field(description="Weights of the loaded models.")
    device_capacity_bytes: int | None = Field(description="What weights may take together. Null: not limited.")
    microbatches: list[AdminMicrobatch] = Field(description="The micro-batches in hand, the oldest first.")
    job_ids: list[str] = Field(description="The jobs of the micro-batches in hand.")
    models: list[str] = Field(description="The models of these jobs.")
    started_at: int | None = Field(description="When the oldest micro-batch in hand was claimed.")
    lease_expires_at: int | None
    last_heartbeat_at: int | None = Field(description="Null: a worker of an earlier version.")
    valid_until: int = Field(description="The worker renews it at each heartbeat; it is gone if it does not.")


class AdminQueueList(BaseModel):
    """All queues of the catalogue, and those that have jobs, workers or a pause."""

    object: Literal["list"] = "list"
    data: list[AdminQueue]


class AdminWorkerList(BaseModel):
    """All workers that run."""

    object: Literal["list"] = "list"
    data: list[AdminWorker]


class AdminPause(BaseModel):
    """What a call has done to a queue or a worker."""

    object: Literal["admin.pause"] = "admin.pause"
    kind: PauseKind
    name: str
    state: State


@router.get("/queues", summary="List queues", response_model=AdminQueueList)
@requires(Scope.ADMIN)
async def list_queues(context: AppContext) -> Response:
    """List the queues: how many jobs wait and since when, how fast they end, and whether a pause is in force."""
    database = context.database
    reports = {row.queue: row for row in await database.execute(queue_reports.list_queues())}
    counts = {row.queue: row for row in await database.execute(count_by_queue())}
    states = {row.name: row.state for row in await database.execute(pauses.list_pauses()) if row.kind == "queue"}
    names = sorted({model.queue for model in context.catalog.models} | set(reports) | set(counts) | set(states))
    data = []
    for name in names:
        count = counts.get(name)
        data.append(
            _queue(
                name,
                reports.get(name),
                states.get(name),
                0 if count is None else count.workers,
                0 if count is None else count.ready_workers,
            )
        )
    return answer(AdminQueueList(data=data))


def _queue(
    name: str, report: QueueReport | None, state: PauseState | None, workers: int, ready_workers: int
) -> AdminQueue:
    depth = 0 if report is None else report.depth
    per_minute = 0.0 if report is None else report.ended_jobs / (RATE_WINDOW.total_seconds() / 60)
    oldest = None if report is None or report.oldest_at is None else (report.now - report.oldest_at).total_seconds()
    is_moving = state != "paused" and per_minute > 0
    in_progress = 0 if report is None else report.in_progress
    drain = 0.0 if depth == 0 else round(60 * depth / per_minute, 1) if is_moving else None
    return AdminQueue(
        name=name,
        state=pauses.state_of_queue(state, depth + in_progress),
        depth=depth,
        in_progress=in_progress,
        oldest_seconds=None if oldest is None else round(oldest, 3),
        finished_per_minute=round(per_minute, 2),
        drain_seconds=drain,
        workers=workers,
        ready_workers=ready_workers,
    )


@router.get("/workers", summary="List workers", response_model=AdminWorkerList)
@requires(Scope.ADMIN)
async def list_workers(context: AppContext) -> Response:
    """List the workers that run: queues, device, memory, loaded models, micro-batches in hand, and pauses."""
    rows = await context.database.execute(queue_reports.list_workers())
    states = {
        row.name: row.state for row in await context.database.execute(pauses.list_pauses()) if row.kind == "worker"
    }
    return answer(AdminWorkerList(data=[_worker(row, states) for row in rows]))


def _worker(row: WorkerReport, states: dict[str, PauseState]) -> AdminWorker:
    return AdminWorker(
        name=row.name,
        host=row.name.partition(":")[0],
        queues=list(row.queues),
        state=pauses.state_of_worker(row.name, states, is_idle=not row.microbatches),
        is_ready=row.is_ready,
        is_idle=not row.microbatches,
        device=row.device,
        loaded_models=list(row.loaded_models),
        resident_bytes=row.resident_bytes,
        device_bytes=row.device_bytes,
        device_capacity_bytes=row.device_capacity,
        microbatches=[
            AdminMicrobatch(
                job_ids=list(item["job_ids"]),
                model=item["model"],
                started_at=int(datetime.fromisoformat(item["started_at"]).timestamp()),
                lease_expires_at=int(datetime.fromisoformat(item["lease_expires_at"]).timestamp()),
            )
            for item in row.microbatches
        ],
        job_ids=row.job_ids,
        models=row.models,
        started_at=seconds(row.started_at),
        lease_expires_at=seconds(row.lease_expires_at),
        last_heartbeat_at=seconds(row.renewed_at),
        valid_until=int(row.expires_at.timestamp()),
    )


NO_SUCH: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "There is no such queue or worker."}}


@router.post("/queues/{name}/pause", summary="Pause a queue", response_model=AdminPause, responses=NO_SUCH)
@requires(Scope.ADMIN)
async def pause_queue(name: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Let nothing be claimed from a queue until it is resumed. Micro-batches in hand are finished."""
    return await _begin(context, caller, "queue", name, "paused")


@router.post("/queues/{name}/drain", summary="Drain a queue", response_model=AdminPause, responses=NO_SUCH)
@requires(Scope.ADMIN)
async def drain_queue(name: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Accept no more jobs for a queue, and work off those that wait. It is `drained` when none is left."""
    return await _begin(context, caller, "queue", name, "draining")


@router.post("/queues/{name}/resume", summary="Resume a queue", response_model=AdminPause)
@requires(Scope.ADMIN)
async def resume_queue(name: str, context: AppContext, caller: CurrentCaller) -> Response:
    """End the pause of a queue. Without a pause nothing changes."""
    return await _resume(context, caller, "queue", name)


@router.post("/workers/{name}/pause", summary="Pause a worker", response_model=AdminPause, responses=NO_SUCH)
@requires(Scope.ADMIN)
async def pause_worker(name: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Let a worker, or all workers of a host, claim nothing until resumed. Micro-batches in hand are finished."""
    return await _begin(context, caller, "worker", name, "paused")


@router.post("/workers/{name}/drain", summary="Drain a worker", response_model=AdminPause, responses=NO_SUCH)
@requires(Scope.ADMIN)
async def drain_worker(name: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Let a worker, or all workers of a host, finish what they hold and free their device. The processes go on."""
    return await _begin(context, caller, "worker", name, "draining")


@router.post("/workers/{name}/resume", summary="Resume a worker", response_model=AdminPause)
@requires(Scope.ADMIN)
async def resume_worker(name: str, context: AppContext, caller: CurrentCaller) -> Response:
    """End the pause of a worker or a host. Without a pause nothing changes. A worker stays paused through its host."""
    return await _resume(context, caller, "worker", name)


async def _begin(context: Context, caller: CurrentCaller, kind: PauseKind, name: str, state: PauseState) -> Response:
    is_in_catalog = kind == "queue" and any(model.queue == name for model in context.catalog.models)
    if not is_in_catalog and not await context.database.execute(pauses.find(kind, name)):
        raise NotFound(f"There is no {kind} {quote(name)}.", param="name")
    event = event_of(caller, AuditType.PAUSE_BEGUN, name, subject=kind, state=state)
    (row,) = await context.database.execute(audit.with_audit_event(pauses.begin(kind, name, state), event))
    return answer(AdminPause(kind=row.kind, name=row.name, state=row.state))


async def _resume(context: Context, caller: CurrentCaller, kind: PauseKind, name: str) -> Response:
    event = event_of(caller, AuditType.PAUSE_ENDED, name, subject=kind)
    is_changed = bool(await context.database.execute(audit.with_audit_event(pauses.resume(kind, name), event)))
    queues, state = [name], pauses.state_of_queue(None, 0)
    if kind == "worker":
        rows = await context.database.execute(queue_reports.list_workers())
        rows = [row for row in rows if name in (row.name, row.name.partition(":")[0])]
        queues = sorted({queue for row in rows for queue in row.queues})
        pause_rows = await context.database.execute(pauses.list_pauses())
        states = {row.name: row.state for row in pause_rows if row.kind == "worker"}
        is_idle = bool(rows) and not any(row.microbatches for row in rows)
        state = pauses.state_of_worker(name, states, is_idle=is_idle)
    if is_changed:
        for queue in queues:
            context.notifier.notify(queue)
    return answer(AdminPause(kind=kind, name=name, state=state))
