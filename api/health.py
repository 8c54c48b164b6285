"""`/healthz` and `/readyz`: liveness of the process, and readiness of the services that it depends on."""

import asyncio
from typing import Any, Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from api.context import Context
from api.deps import AppContext
from core import pauses, workers
from core.db import DATABASE_ERROR
from core.errors import StorageUnavailable

router = APIRouter(tags=["health"])

CHECK_TIMEOUT_SECONDS = 2.0
NO_SECURITY: dict[str, Any] = {"security": []}


QueueState = Literal["ok", "loading", "no_worker", "paused", "draining"]


class Health(BaseModel):
    """The process responds."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """The state of each dependency, and of each queue.

    `degraded`: requests are served, but Redis is down, so that jobs start with some delay, or a queue has no worker or
    is paused, so that its jobs wait, or it is drained and accepts none.
    """

    status: Literal["ready", "degraded", "unready"]
    checks: dict[str, Literal["ok", "down"]]
    queues: dict[str, QueueState] = Field(
        description="Whether workers serve the queues of the models. `loading`: each of them loads its first model. "
        "`paused` and `draining`: an operator has paused the queue, or drains it."
    )


@router.get("/healthz", summary="Liveness", response_model=Health, openapi_extra=NO_SECURITY)
async def healthz() -> Response:
    """Check that this process responds."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    summary="Readiness",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Requests cannot be served; `checks` says why."}},
    openapi_extra=NO_SECURITY,
)
async def readyz(context: AppContext) -> Response:
    """Check whether requests can be served, and which dependency is down."""
    database, redis, storage, queues = await asyncio.gather(
        _check_database(context), context.listener.ping(), _check_storage(context), _check_queues(context)
    )
    status: Literal["ready", "degraded", "unready"] = "ready"
    if not (database and storage):
        status = "unready"
    elif not redis or not {"no_worker", "paused", "draining"}.isdisjoint(queues.values()):
        status = "degraded"
    checks: dict[str, Literal["ok", "down"]] = {
        name: "ok" if is_up else "down"
        for name, is_up in (("database", database), ("redis", redis), ("storage", storage))
    }
    body = Readiness(status=status, checks=checks, queues=queues)
    return JSONResponse(body.model_dump(), status_code=503 if status == "unready" else 200)


async def _check_database(context: Context) -> bool:
    """Whether the database answers and is migrated."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            return await context.database.is_ready()
    except TimeoutError:
        return False


async def _check_queues(context: Context) -> dict[str, QueueState]:
    """The state of each queue; nothing while the database does not answer."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            rows = await context.database.execute(workers.count_by_queue())
            pause_rows = await context.database.execute(pauses.list_pauses())
    except (TimeoutError, DATABASE_ERROR):
        return {}
    states: dict[str, QueueState] = {row.queue: "ok" if row.ready_workers else "loading" for row in rows}
    states |= {row.name: row.state for row in pause_rows if row.kind == "queue"}
    return {queue: states.get(queue, "no_worker") for queue in context.catalog.queues}


async def _check_storage(context: Context) -> bool:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_SECONDS):
            await context.storage.check()
    except (StorageUnavailable, TimeoutError):
        return False
    return True
