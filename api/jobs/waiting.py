"""Waiting for a job: woken by what workers publish, and looking at the database by itself in case nothing arrives."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import Request

from api.context import Context
from core import queries
from core.errors import NotFound
from core.rows import JobEventRow, JobRow
from core.status import JobStatus

LOOK_SECONDS = 1.0
"""How often a waiting request looks at the database unasked: what a lost message costs at most."""


def no_such_job(job_id: str) -> NotFound:
    """The job does not exist, or belongs to somebody else."""
    return NotFound(f"There is no job {job_id!r}.", param="id")


async def job_row(context: Context, project_id: str, job_id: str) -> JobRow:
    """A job's row, with images and place in line. Raises NotFound."""
    rows = await context.database.execute(queries.get_job(project_id, job_id))
    if not rows:
        raise no_such_job(job_id)
    return rows[0]


async def until_final(context: Context, project_id: str, job_id: str, patience: float) -> None:
    """Return once a job is final, or after `patience` seconds. Raises NotFound."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    async with context.listener.watch(job_id) as heard:
        while True:
            state = await context.database.execute(queries.get_status(project_id, job_id))
            if not state:
                raise no_such_job(job_id)
            remaining = deadline - loop.time()
            if JobStatus(state[0].status).is_final or remaining <= 0:
                return
            await _news(heard, min(remaining, LOOK_SECONDS))


async def until_final_or_gone(request: Request, context: Context, project_id: str, job_id: str) -> bool:
    """Return once a job is final, or after `sync_timeout`; False, earlier, once the client of a call has gone away.

    The body of the request has been read. Raises NotFound.
    """
    patience = context.settings.sync_timeout.total_seconds()
    waiting = asyncio.create_task(until_final(context, project_id, job_id, patience))
    leaving = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            waiting.result()
        return waiting.done()
    finally:
        waiting.cancel()
        leaving.cancel()
        await asyncio.gather(waiting, leaving, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _news(heard: asyncio.Queue[Mapping[str, Any]], patience: float) -> None:
    """Wait until the job is said to have moved, passing over mere progress, or until the time is up."""
    try:
        async with asyncio.timeout(patience):
            while (await heard.get())["type"] != "changed":
                pass
    except TimeoutError:
        return


async def follow(context: Context, job_id: str, after: int) -> AsyncIterator[JobEventRow | Mapping[str, Any] | None]:
    """A job's events from the database beyond seq `after`, with progress and previews between; None while it is quiet.

    Ends after the final event. Events are never missed: after each message, and every second without one, the database
    is read from the last seq seen.
    """
    async with context.listener.watch(job_id) as heard:
        while True:
            for event in await context.database.execute(queries.list_events(job_id, after)):
                after = event.seq
                yield event
                if JobStatus(event.data["status"]).is_final:
                    return
            try:
                message = await asyncio.wait_for(heard.get(), LOOK_SECONDS)
            except TimeoutError:
                yield None
                continue
            while message["type"] != "changed":
                yield message
                if heard.empty():
                    break
                message = heard.get_nowait()
