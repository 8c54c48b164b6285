"""Clients that wait in a synchronous call: those who come back are led to their job, those who do not free the device.

An SDK tries a broken call again without saying which it was (`x-stainless-retry-count`). The same request of the same
API key, whose call broke off, is that one; of several, each retry gets another. Where Redis is away nobody is
recognised. Who names an `Idempotency-Key` needs none of this: see `api/jobs/idempotency.py`.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from core import idempotency, jobs, queries
from core.db import UNAVAILABLE, AsyncDatabase
from core.errors import QueueFull, first_line
from core.redis.pending_requests import PendingRequests
from core.redis.progress import Listener
from core.requests.fields import ImageSource
from core.requests.job import ImageParameters
from core.rows import JobRow
from core.settings import Settings
from core.status import JobStatus

log = logging.getLogger(__name__)

WORTH_WAITING_FOR = (JobStatus.QUEUED, JobStatus.IN_PROGRESS, JobStatus.COMPLETED)


@dataclass(slots=True)
class Call:
    """A synchronous call while it waits for its job."""

    is_answered: bool = False
    """Whether its client has, or needs, no more from it; if not, it broke off."""


class Callers:
    """The waiting clients of one process."""

    def __init__(self, settings: Settings, database: AsyncDatabase, listener: Listener, calls: PendingRequests) -> None:
        self._grace = settings.sync_grace.total_seconds()
        self._depth = settings.max_queue_depth
        self._arriving: Counter[str] = Counter()
        self._database = database
        self._listener = listener
        self._calls = calls
        self._graces: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def place(self, queue: str) -> AsyncIterator[None]:
        """Hold a place in a line until the job stands in it. Raises QueueFull.

        Places count as jobs, so that of many calls at once no more get in than there is room for; sooner one too few,
        as a job that has just been written counts twice for a moment. Those of other processes are not seen: together
        they may exceed the depth by what is just arriving there.
        """
        free = self._depth - self._arriving[queue]
        self._arriving[queue] += 1
        try:
            if free < 1 or await self._database.execute(queries.has_queued(queue, free)):
                raise QueueFull(
                    f"{self._depth} jobs wait already, so that this call would not be answered in time; nothing was "
                    "stored. Try again later, or POST /v1/jobs and come back for the images."
                )
            yield
        finally:
            self._arriving[queue] -= 1

    async def earlier(self, project_id: str, fingerprint: bytes) -> JobRow | None:
        """The job of a call for this that broke off, if it may still bring images. It is yours then."""
        for job_id in await self._calls.unanswered(fingerprint):
            if await self._listener.is_watched(job_id) is not False or not await self._calls.take(fingerprint, job_id):
                continue
            rows = await self._database.execute(queries.get_job(project_id, job_id))
            if rows and rows[0].status in WORTH_WAITING_FOR and rows[0].cancel_requested_at is None:
                return rows[0]
        return None

    @asynccontextmanager
    async def waiting(self, project_id: str, fingerprint: bytes, job_id: str) -> AsyncIterator[Call]:
        """Hold a client's place while it waits. Where it breaks off, its job goes on for a grace only."""
        call = Call()
        try:
            async with self._listener.watch(job_id):  # before it is on the list: nobody else shall think it broken off
                await self._calls.begin(fingerprint, job_id)
                yield call
                if call.is_answered:
                    await self._calls.take(fingerprint, job_id)
        except Exception:  # whatever it is, it goes on to the client: an error is an answer too, a cancellation is none
            call.is_answered = True
            await self._calls.take(fingerprint, job_id)
            raise
        finally:
            if not call.is_answered:
                grace = asyncio.create_task(self._wait_for_return(project_id, fingerprint, job_id))
                self._graces.add(grace)
                grace.add_done_callback(self._graces.discard)

    async def _wait_for_return(self, project_id: str, fingerprint: bytes, job_id: str) -> None:
        """Cancel a job whose client does not come back, unless somebody else watches it."""
        await asyncio.sleep(self._grace)
        if await self._listener.is_watched(job_id) is not False or not await self._calls.take(fingerprint, job_id):
            return
        try:
            if await self._database.execute(jobs.cancel(project_id, job_id)):
                log.info("job %s cancelled: its client went away", job_id)
                await self._listener.changed(job_id)
        except UNAVAILABLE as error:
            log.warning("job %s goes on without its client: %s", job_id, first_line(error))

    async def close(self) -> None:
        """Let the jobs of clients that went away be; a process that starts may lead them back."""
        for grace in self._graces:
            grace.cancel()
        await asyncio.gather(*self._graces, return_exceptions=True)
        await self._calls.close()


def retry_fingerprint(headers: Mapping[str, str], path: str, wanted: ImageParameters) -> bytes:
    """What makes two calls the same where nothing else tells them apart: API key, path and all that is asked for."""
    return idempotency.fingerprint(path, {"authorization": headers.get("authorization"), "asked": asked(wanted)})


def asked(wanted: ImageParameters) -> Mapping[str, Any]:
    """All that a request asks for; images that came with a form by their SHA-256."""
    found = wanted.model_dump(mode="json", exclude_unset=True)
    for name in ("image", "mask"):
        source = getattr(wanted, name, None)
        if isinstance(source, ImageSource) and source.content is not None:
            found[name] = hashlib.sha256(source.content).hexdigest()
    return found


def is_retry(headers: Mapping[str, str]) -> bool:
    """Whether an OpenAI SDK says that it has tried this before."""
    count = headers.get("x-stainless-retry-count", "")
    return count.isdecimal() and int(count) > 0


def wants_no_wait(headers: Mapping[str, str]) -> bool:
    """Whether the client prefers an answer at once (RFC 7240, §4.1)."""
    return any(said.strip().lower() == "respond-async" for said in headers.get("prefer", "").split(","))
