"""A call of a client that makes a job: it submits the job, or resumes that of an earlier attempt, and waits for it.

`api/edge/sdk_retries.py` and `api/jobs/idempotency.py` have the rules of repeated calls.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from api.authentication import Caller
from api.context import Context
from api.edge.address import api_path
from api.edge.sdk_retries import Call, hashable_parameters, is_retry, retry_fingerprint
from api.fine_tuning.models import catalog_for
from api.inputs import read_inputs
from api.jobs.idempotency import REPLAY_HEADERS, lookup, submit_with_key
from api.jobs.routes import submit_job
from api.jobs.waiting import job_row, wait_until_final_or_disconnected
from api.openai.responses import failure
from core import idempotency
from core.catalog import Model
from core.errors import IdempotencyConflict
from core.new_job import NewJob
from core.priorities import among_projects
from core.requests.inputs import Inputs
from core.requests.job import JobRequest
from core.requests.openai import ImagesRequest
from core.requests.plan import expected_seconds, find_model, plan
from core.rows.job import JobRow
from core.status import JobStatus

ResultT = TypeVar("ResultT")

CLIENT_CLOSED_REQUEST = 499
"""The status in the log of a call whose client disconnected; nobody receives it."""


@dataclass(frozen=True, slots=True)
class ImagesCall:
    """One call of a client: its parameters, and the job request that they make.

    is_sync: whether the client waits for the images. Otherwise the job continues without it.
    """

    http: Request
    context: Context
    caller: Caller
    parameters: ImagesRequest
    job: JobRequest
    key: str | None
    is_sync: bool

    @property
    def project_id(self) -> str:
        """The project of the caller."""
        return self.caller.project_id

    async def submit_or_resume(self) -> tuple[JobRow, dict[str, str]]:
        """The job of this call, new or of an earlier attempt, and the headers that say which. Raises QueueFull."""
        model = find_model(self.job, await catalog_for(self.context, self.project_id, self.job))
        if self.key is not None:
            return await self._submit_with_key(model, idempotency.check(self.key))
        job = await self._resume()
        if job is None:
            async with self._slot(model):
                job = await submit_job(self.context, *await self._plan())
        if not self.is_sync and await self.http.is_disconnected():  # `_track` lists a call that waits
            await self.context.sync_calls.await_retry(self._fingerprint(), job.id)
        return job, {}

    async def _resume(self) -> JobRow | None:
        """The job of an earlier attempt at this call, if the client says that there was one."""
        if not is_retry(self.http.headers):
            return None
        return await self.context.sync_calls.resume(self.project_id, self._fingerprint())

    def _slot(self, model: Model) -> AbstractAsyncContextManager[None]:
        """A slot in the queue, unless the client does not wait. Raises InvalidParameter."""
        if not self.is_sync:
            return nullcontext()
        priority = among_projects(self.job.priority, self.context.settings.max_priority)
        cost = expected_seconds(self.job, model)
        return self.context.sync_calls.slot(model.queue, self.project_id, priority, cost)

    async def _submit_with_key(self, model: Model, key: str) -> tuple[JobRow, dict[str, str]]:
        """The job of the first call with this key.

        Raises IdempotencyMismatch, IdempotencyConflict, and NotFound if the job has been deleted.
        """
        context, project_id = self.context, self.project_id
        fingerprint = idempotency.fingerprint(api_path(self.http), hashable_parameters(self.parameters))
        response = await lookup(context, project_id, key, fingerprint)
        if response is None:
            async with self._slot(model):
                job, inputs = await self._plan()
                is_new = await submit_with_key(
                    context, job, inputs, key, fingerprint, lambda row: json.dumps({"id": row.id})
                )
            if is_new:
                return await job_row(context, project_id, job.id), {}
            response = await lookup(context, project_id, key, fingerprint)
        if response is None:
            raise IdempotencyConflict
        return await job_row(context, project_id, response["id"]), dict(REPLAY_HEADERS)

    async def _plan(self) -> tuple[NewJob, Inputs]:
        inputs = await read_inputs(self.context, self.project_id, self.job)
        settings = self.context.settings
        catalog = await catalog_for(self.context, self.project_id, self.job)
        return plan(
            self.job, catalog, settings, self.project_id, inputs=inputs.ids, api_key_id=self.caller.key_id
        ), inputs

    def _fingerprint(self) -> bytes:
        """A call that waits does not take the job of one that does not: it would cancel it when its client leaves."""
        path = api_path(self.http) if self.is_sync else f"{api_path(self.http)} respond-async"
        return retry_fingerprint(self.http.headers, path, self.parameters)

    def _track(self, job: JobRow) -> AbstractAsyncContextManager[Call]:
        """A call with a key, or one that does not wait, is not tracked: its job continues without a client."""
        if self.key is not None or not self.is_sync:
            return nullcontext(Call())
        return self.context.sync_calls.track(self.project_id, self._fingerprint(), job.id)

    async def wait(self, job: JobRow, render: Callable[[JobRow], Awaitable[ResultT]]) -> ResultT | None:
        """What `render` makes of the completed job. None if the client disconnects. Raises why there are no images."""
        async with self._track(job) as call:
            row = await wait_until_final_or_disconnected(self.http, self.context, self.project_id, job.id)
            if row is None:
                return None
            if row.status != JobStatus.COMPLETED:
                raise failure(self.context, row)
            result = await render(row)
            call.is_answered = True
            return result

    async def track_events(self, job: JobRow, events: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The events of the job, while the call is tracked."""
        async with self._track(job) as call:
            async for event in events:
                yield event
            call.is_answered = True
