"""`/healthz` and `/readyz`: whether the process lives, and whether its parts answer."""

import asyncio
from typing import Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from api.context import Context
from api.deps import AppContext
from core.db import UNAVAILABLE
from core.errors import StorageUnavailable

router = APIRouter(tags=["health"])

PATIENCE_SECONDS = 2.0
WITHOUT_A_KEY: dict[str, Any] = {"security": []}


class Health(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Each part, and what follows: without Redis jobs still flow, a little later."""

    status: Literal["ready", "degraded", "unready"]
    checks: dict[str, Literal["ok", "down"]]


@router.get("/healthz", summary="Liveness", response_model=Health, openapi_extra=WITHOUT_A_KEY)
async def healthz() -> Response:
    """Whether this process lives."""
    return JSONResponse({"status": "ok"})


@router.get(
    "/readyz",
    summary="Readiness",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "Requests cannot be served; `checks` says why."}},
    openapi_extra=WITHOUT_A_KEY,
)
async def readyz(context: AppContext) -> Response:
    """Whether requests can be served, and which part is down if not."""
    database, redis, storage = await asyncio.gather(_database(context), _redis(context), _storage(context))
    status: Literal["ready", "degraded", "unready"] = "ready"
    if not (database and storage):
        status = "unready"
    elif not redis:
        status = "degraded"
    checks: dict[str, Literal["ok", "down"]] = {
        name: "ok" if fine else "down"
        for name, fine in (("database", database), ("redis", redis), ("storage", storage))
    }
    body = Readiness(status=status, checks=checks)
    return JSONResponse(body.model_dump(), status_code=503 if status == "unready" else 200)


async def _database(context: Context) -> bool:
    """Answers, and is migrated."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await context.database.execute(sa.text("SELECT count(*) FROM projects"))
    except (*UNAVAILABLE, sa.exc.ProgrammingError, TimeoutError):
        return False
    return True


async def _redis(context: Context) -> bool:
    return await context.listener.ping()


async def _storage(context: Context) -> bool:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await context.storage.check()
    except (StorageUnavailable, TimeoutError):
        return False
    return True
