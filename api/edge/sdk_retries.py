"""Synchronous calls that lose their client: a retry resumes its job, and a job without a client is cancelled.

An SDK retries a broken call without naming it (`x-stainless-retry-count`). A retry is matched with an unanswered call
of the same API key, path and parameters; if there are several such calls, each retry gets another one. While Redis is
down no retry is matched. Calls with an `Idempotency-Key` do not need this: see `api/jobs/idempotency.py`.
"""

import asyncio
import hashlib
import logging
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from core import fairness, idempotency, jobs, queries
from core.db import UNAVAILABLE, AsyncDatabase
from core.errors import first_line
from core.limit_errors import QueueFull
from core.parameters.image_source import ImageSource
from core.redis.pending_requests import PendingRequests
from core.redis.progress import Listener
from core.requests.job import ImageParameters
from core.rows.job import JobRow
from core.settings import Settings
from core.status import JobStatus
from core.telemetry.job_metrics import record_ends

log = logging.getLogger(__name__)

RESUMABLE = (JobStatus.QUEUED, JobStatus.IN_PROGRESS, JobStatus.COMPLETED)


@dataclass(slots=True)
class Call:
    """A synchronous call that waits for its job."""

    is_answered: bool = False
    """Whether the client has its response, or needs none. False: the client disconnected."""


class SyncCalls:
    """The synchronous calls of one process."""

    def __init__(self, settings: Settings, database: AsyncDatabase, listener: Listener, calls: PendingRequests) -> None:
        self._grace_seconds = settings.sync_grace.total_seconds()
        self._max_depth = settings.max_queue_depth
        self._slots: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._database = database
        self._listener = listener
        self._calls = calls
        self._graces: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def slot(self, queue: str, project_id: str, priority: int, cost: float) -> AsyncIterator[None]:
        """Reserve a slot in a queue for a job until the job is in it. Raises QueueFull.

        The jobs that would be claimed before it are counted, so the jobs of a batch do not count, and of another
        project with many jobs only those that come before in fair order. A slot of the same project counts as a queued
        job, and so does each other project with a slot: simultaneous calls cannot exceed the maximum. A job that has
        just been submitted counts twice for a moment. Slots of other processes are not counted: together the processes
        may exceed the maximum by the calls that are being submitted.
        """
        slots = self._slots[queue]
        free = self._max_depth - slots[project_id] - len(slots.keys() - {project_id})
        slots[project_id] += 1
        try:
            if free < 1 or await self._database.execute(
                fairness.has_jobs_ahead(queue, project_id, priority, cost, free)
            ):
                raise QueueFull(
                    f"{self._max_depth} jobs stand before this call, so it would not be answered in time; nothing was "
                    "stored. Try again later, or POST /v1/jobs and fetch the images when they are ready."
                )
            yield
        finally:
            slots[project_id] -= 1
            if not slots[project_id]:
                del slots[project_id]

    async def resume(self, project_id: str, fingerprint: bytes) -> JobRow | None:
        """The job of an unanswered call with this fingerprint, if it can still complete. Only one retry gets it."""
        for job_id in await self._calls.list_jobs(fingerprint):
            is_watched = await self._listener.is_watched(job_id)
            if is_watched is not False or not await self._calls.remove(fingerprint, job_id):
                continue
            rows = await self._database.execute(queries.get_job(project_id, job_id))
            if rows and rows[0].status in RESUMABLE and rows[0].cancel_requested_at is None:
                return rows[0]
        return None

    @asynccontextmanager
    async def track(self, project_id: str, fingerprint: bytes, job_id: str) -> AsyncIterator[Call]:
        """Keep a call on the list of pending calls. If its client disconnects, a grace period for the job begins."""
        call = Call()
        try:
            async with self._listener.watch(job_id):  # before the call is listed, so that no retry takes it
                await self._calls.begin(fingerprint, job_id)
                yield call
                if call.is_answered:
                    await self._calls.remove(fingerprint, job_id)
        except Exception:  # an error is a response too; a cancellation is not an Exception
            call.is_answered = True
            await self._calls.remove(fingerprint, job_id)
            raise
        finally:
            if not call.is_answered:
                grace = asyncio.create_task(self._cancel_after_grace(project_id, fingerprint, job_id))
                self._graces.add(grace)
                grace.add_done_callback(self._graces.discard)

    async def await_retry(self, fingerprint: bytes, job_id: str) -> None:
        """Let a retry find the job of a call that does not wait: its client disconnected before the response.

        The job is not cancelled if no retry comes.
        """
        await self._calls.begin(fingerprint, job_id)

    async def _cancel_after_grace(self, project_id: str, fingerprint: bytes, job_id: str) -> None:
        """Cancel a job whose client does not retry, unless another client watches it."""
        await asyncio.sleep(self._grace_seconds)
        is_watched = await self._listener.is_watched(job_id)
        if is_watched is not False or not await self._calls.remove(fingerprint, job_id):
            return
        try:
            if record_ends(await self._database.execute(jobs.cancel(project_id, job_id))):
                log.info("job %s cancelled: its client disconnected", job_id)
                await self._listener.publish_change(job_id)
        except UNAVAILABLE as error:
            log.warning("job %s continues without its client: %s", job_id, first_line(error))

    async def close(self) -> None:
        """Stop the grace periods. Their jobs stay on the list, where another process may resume them."""
        for grace in self._graces:
            grace.cancel()
        await asyncio.gather(*self._graces, return_exceptions=True)
        await self._calls.close()


def retry_fingerprint(headers: Mapping[str, str], path: str, parameters: ImageParameters) -> bytes:
    """The same for two calls without a key if they have the same API key, path and parameters."""
    return idempotency.fingerprint(
        path, {"authorization": headers.get("authorization"), "parameters": hashable_parameters(parameters)}
    )


def hashable_parameters(parameters: ImageParameters) -> Mapping[str, Any]:
    """The parameters of a request as JSON; an uploaded image is represented by its SHA-256."""
    fields = parameters.model_dump(mode="json", exclude_unset=True)
    for name in ("image", "images", "mask"):
        value = getattr(parameters, name, None)
        sources = value if isinstance(value, list) else [value]
        hashes = [
            hashlib.sha256(source.content).hexdigest()
            for source in sources
            if isinstance(source, ImageSource) and source.content is not None
        ]
        if hashes:
            fields[name] = hashes if isinstance(value, list) else hashes[0]
    return fields


def is_retry(headers: Mapping[str, str]) -> bool:
    """Whether an OpenAI SDK says that this call is a retry."""
    return re.fullmatch(r"0*[1-9][0-9]{0,5}", headers.get("x-stainless-retry-count", "")) is not None


def prefers_async(headers: Mapping[str, str]) -> bool:
    """Whether the client prefers a response before the job is done (RFC 7240, §4.1)."""
    return any(value.strip().lower() == "respond-async" for value in headers.get("prefer", "").split(","))
