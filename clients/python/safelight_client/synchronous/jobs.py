# Made of asynchronous/jobs.py by `python clients/generate.py`: do not edit.
"""Jobs: submit, wait, follow, list, cancel, retry, reproduce, delete."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal, Unpack

from safelight_client import models, requests
from safelight_client.errors import JobFailed, WaitTimeout
from safelight_client.event_stream import FIRST, Preview, preview_of
from safelight_client.paths import path_of
from safelight_client.synchronous.bound import Bound
from safelight_client.synchronous.images import Image
from safelight_client.synchronous.transport import Transport

MAX_WAIT_SECONDS = 30.0
"""Maximum wait of one request; the API allows 60 s, but proxies may not."""


class Job(Bound, models.JobObject):
    """A job. Its fields are its state when the client got it; `refresh` gets it again."""

    images: Sequence[Image]

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self.finished_at is not None

    def refresh(self) -> "Job":
        """The current state of the job."""
        return Jobs(self._transport).retrieve(self.id)

    def wait(self, *, timeout: float | None = None, check: bool = True) -> "Job":
        """Wait until the job has ended. See `client.jobs.wait`."""
        return Jobs(self._transport).wait(self.id, timeout=timeout, check=check)

    def events(self, *, after: str = FIRST) -> Generator["JobEvent"]:
        """All events of the job until it has ended. See `client.jobs.events`."""
        return Jobs(self._transport).events(self.id, after=after)

    def cancel(self) -> "Job":
        """Request the cancellation of the job; returns its new state."""
        return Jobs(self._transport).cancel(self.id)

    def retry(self) -> "Job":
        """Submit the job again, if it failed, was cancelled or expired; returns the new job."""
        return Jobs(self._transport).retry(self.id)

    def reproduce(self) -> "Job":
        """Draw the images of the job again; returns the new job. See `client.jobs.reproduce`."""
        return Jobs(self._transport).reproduce(self.id)

    def delete(self) -> models.Deleted:
        """Delete the job, which has ended, with its images."""
        return Jobs(self._transport).delete(self.id)

    def check_completed(self) -> None:
        """Raise JobFailed with the reason if the job has ended without images."""
        if self.error is not None:
            raise JobFailed(self.id, self.status, self.error.code, f"{self.id} failed: {self.error.message}")
        if self.is_final and self.status != "completed":
            raise JobFailed(self.id, self.status, None, f"{self.id} was {self.status}, so it has no images.")


@dataclass(frozen=True, slots=True)
class JobEvent:
    """An event of a job. id: for `after`; None for progress and previews. job: the job, in its last event."""

    type: str
    id: str | None
    data: Mapping[str, Any]
    job: Job | None

    @property
    def progress(self) -> models.StepProgress | None:
        """The denoising step, if the type is `job.progress`."""
        return models.StepProgress.model_validate(self.data) if self.type == "job.progress" else None

    @property
    def preview(self) -> Preview | None:
        """The preview, if the type is `preview`. Jobs with `partial_images` have them."""
        return preview_of(self.data) if self.type == "preview" else None


class Jobs:
    """The API's calls for jobs."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        **parameters: Unpack[requests.JobRequest],
    ) -> Job:
        """Submit a job. It is stored when this returns; `wait` or `events` follow it.

        idempotency_key: two requests with the same key are one job; default: a new key, so that a repetition after a
        lost connection is no second job. timeout: of the request, in seconds. Raises BadRequest, whose `param` names
        the wrong parameter.
        """
        data = self._transport.submit("/v1/jobs", parameters, idempotency_key, timeout)
        return self._transport.parse(Job, data)

    def dry_run(self, **parameters: Unpack[requests.JobRequest]) -> models.Estimate:
        """Check the parameters of a job and estimate its device time. Nothing is stored."""
        return self._transport.fetch(models.Estimate, "POST", "/v1/jobs", body={**parameters, "dry_run": True})

    def retrieve(self, job_id: str) -> Job:
        """The current state of a job. Raises NotFound."""
        return self._transport.fetch(Job, "GET", path_of("jobs", job_id))

    def list(
        self,
        *,
        status: str | Sequence[str] = (),
        model: str | None = None,
        batch_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        created_after: int | None = None,
        created_before: int | None = None,
        after: str | None = None,
        order: Literal["asc", "desc"] = "desc",
        limit: int | None = None,
    ) -> Iterator[Job]:
        """The jobs with these properties, newest first, page by page.

        status: one or several. created_after, created_before: Unix seconds. after: the id of the job before the first
        one. limit: of the number of jobs; None for all.
        """
        query: dict[str, Any] = {
            "status": [status] if isinstance(status, str) else [*status],
            "model": model,
            "batch_id": batch_id,
            "created_after": created_after,
            "created_before": created_before,
            "after": after,
            "order": order,
            **{f"metadata[{name}]": value for name, value in (metadata or {}).items()},
        }
        for job in self._transport.list_items(Job, "/v1/jobs", query, limit):
            yield job

    def wait(self, job_id: str, *, timeout: float | None = None, check: bool = True) -> Job:
        """Wait until a job has ended; returns it.

        timeout: seconds; None waits as long as it takes. check: raise JobFailed if it has no images. Raises
        WaitTimeout.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            remaining = MAX_WAIT_SECONDS if deadline is None else deadline - time.monotonic()
            seconds = max(0.0, min(remaining, MAX_WAIT_SECONDS))
            job = self._transport.fetch(
                Job,
                "GET",
                path_of("jobs", job_id),
                params={"wait": round(seconds, 3)},
                timeout=seconds + self._transport.configuration.timeout,
            )
            if job.is_final:
                if check:
                    job.check_completed()
                return job
            if deadline is not None and time.monotonic() >= deadline:
                raise WaitTimeout(f"{job_id} is still {job.status} after {timeout:g} s.")

    def events(self, job_id: str, *, after: str = FIRST) -> Generator[JobEvent]:
        """All events of a job until it has ended, progress and previews too; the last one has the job.

        A lost connection is opened again after the last event. after: the id of the event before the first one.
        """
        path = f"{path_of('jobs', job_id)}/events"
        with closing(self._transport.messages(path, after)) as messages:
            for message in messages:
                job = message.data.get("job")
                final_job = None if job is None else self._transport.parse(Job, job)
                yield JobEvent(message.type, message.id, message.data, final_job)
                if final_job is not None:
                    return

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: at once if it is queued, at its next step if it is running. Returns its new state."""
        return self._transport.fetch(Job, "POST", f"{path_of('jobs', job_id)}/cancel")

    def retry(self, job_id: str) -> Job:
        """Submit a failed, cancelled or expired job again, with the same seed. A second call returns the same job."""
        return self._transport.fetch(Job, "POST", f"{path_of('jobs', job_id)}/retry")

    def reproduce(self, job_id: str, *, image: str | None = None, idempotency_key: str | None = None) -> Job:
        """Draw the images of a completed job again. Once the new job is completed, its `reproduction` compares them.

        image: id of one image of the job; default: all. idempotency_key: as for `create`. Raises Conflict if the job
        is not completed or a provider generated it.
        """
        parameters = {} if image is None else {"image": image}
        path = f"{path_of('jobs', job_id)}/reproduce"
        return self._transport.parse(Job, self._transport.submit(path, parameters, idempotency_key, None))

    def delete(self, job_id: str) -> models.Deleted:
        """Delete a job that has ended, with its images. Raises Conflict if it has not ended."""
        return self._transport.fetch(models.Deleted, "DELETE", path_of("jobs", job_id))
