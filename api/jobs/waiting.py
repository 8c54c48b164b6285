"""Waiting for a job: until it is final, until its client disconnects, or from event to event."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import Request

from api.context import Context
from api.edge.open_requests import OpenRequest
from api.jobs.watcher import Messages
from core import queries
from core.errors import NotFound
from core.rows.job import JobEventRow, JobRow
from core.status import JobStatus
from core.text import quote


async def job_row(context: Context, project_id: str, job_id: str) -> JobRow:
    """A job's row, with images and queue position. Raises NotFound."""
    row = await context.job_reader.get(project_id, job_id)
    if row is None:
        raise NotFound(f"There is no job {quote(job_id)}.", param="id")
    return row


async def wait_until_final(context: Context, project_id: str, job_id: str, max_seconds: float) -> JobRow:
    """The job once it is final, or as it is after `max_seconds`. Raises NotFound."""
    deadline = asyncio.get_running_loop().time() + max_seconds
    async with context.job_watcher.watch(job_id) as messages:
        row = await job_row(context, project_id, job_id)
        while not JobStatus(row.status).is_final:
            has_changed = await _wait_for_change(messages, row.version, deadline)
            row = await job_row(context, project_id, job_id)
            if not has_changed:
                break
        return row


async def _wait_for_change(messages: Messages, version: int, deadline: float) -> bool:
    """Wait until a job may have another version. False: the deadline came first."""
    try:
        async with asyncio.timeout_at(deadline):
            while True:
                message = await messages.get()
                if message["type"] == "changed" and message.get("version") != version:
                    return True
    except TimeoutError:
        return False


async def wait_until_final_or_disconnected(
    request: Request, context: Context, project_id: str, job_id: str
) -> JobRow | None:
    """The job once it is final, or as it is after `sync_timeout`. None, earlier, if the client disconnects.

    The request's body has been read. Raises NotFound, and Unauthorized when the API key ends.
    """
    open_request: OpenRequest = request.scope["open_request"]
    max_seconds = context.settings.sync_timeout.total_seconds()
    job = asyncio.create_task(wait_until_final(context, project_id, job_id, max_seconds))
    disconnect = asyncio.create_task(_wait_for_disconnect(request))
    try:
        with open_request.interruptible():
            await asyncio.wait({job, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        return job.result() if job.done() else None
    finally:
        job.cancel()
        disconnect.cancel()
        await asyncio.gather(job, disconnect, return_exceptions=True)


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def follow(context: Context, job_id: str, after: int) -> AsyncIterator[JobEventRow | Mapping[str, Any]]:
    """A job's events with a seq beyond `after`, and progress and previews between them.

    Ends after the final event, and within a second or two after the job was deleted.

    No event is lost: after each `changed` message the database is read from the last seq on.
    """
    async with context.job_watcher.watch(job_id) as messages:
        while True:
            for event in await context.database.execute(queries.list_events(job_id, after)):
                after = event.seq
                yield event
                if JobStatus(event.data["status"]).is_final:
                    return
            while (message := await messages.get())["type"] != "changed":
                yield message
            if message.get("version") == 0:
                return
