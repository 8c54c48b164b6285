"""The body of a delivery: `Event`, and a sample to test an endpoint with."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from core.batches.schemas import TIMES, BatchError, BatchErrors, BatchObject, RequestCounts, batch_urls
from core.event_types import EVENT_TYPES
from core.parameters.job import ResolvedParameters
from core.responses.job import JobError, JobObject, job_urls
from core.status import BatchStatus, JobStatus

SAMPLE_PARAMETERS = ResolvedParameters(size="256x256", steps=1, guidance_scale=1.0, seed=0)


class Event(BaseModel):
    """The body of a delivery: the event, and the job or batch as it is when the event is sent."""

    id: str = Field(description="The same for every attempt, as is the header `webhook-id`: tells repetitions.")
    object: Literal["event"] = "event"
    type: str = Field(description="`job.completed`, `batch.completed` ...: what happened, and to what.")
    created_at: int
    data: JobObject | BatchObject = Field(
        description="The job, with links to its images that work until they expire; or the batch."
    )


def sample(event_id: str, event_type: str, now: datetime, base_url: str) -> Event:
    """A sample event of a job or batch that does not exist, to test an endpoint with."""
    status = EVENT_TYPES[event_type].status
    moment = int(now.timestamp())
    if isinstance(status, JobStatus):
        data: JobObject | BatchObject = _sample_job(status, moment, base_url)
    else:
        data = _sample_batch(status, moment, base_url)
    return Event(id=event_id, type=event_type, created_at=moment, data=data)


def _sample_batch(status: BatchStatus, moment: int, base_url: str) -> BatchObject:
    errors = BatchErrors(data=[BatchError(line=1, code="test", param=None, message="This is a test.")])
    return BatchObject(
        id="batch_test",
        endpoint="/v1/images/generations",
        model="test",
        status=status,
        errors=errors if status is BatchStatus.FAILED else None,
        input_file_id="file_test",
        input=None,
        completion_window="24h",
        output_file_id="file_test" if status is BatchStatus.COMPLETED else None,
        error_file_id=None,
        created_at=moment,
        **dict.fromkeys(TIMES) | {"expires_at": moment, f"{status}_at": moment},
        request_counts=RequestCounts(total=1, **{status: 1}),
        metadata={},
        progress=None,
        device_seconds=1.0,
        parameters={},
        webhook=None,
        retried_from=None,
        urls=batch_urls("batch_test", base_url),
    )


def _sample_job(status: JobStatus, moment: int, base_url: str) -> JobObject:
    return JobObject(
        **vars(SAMPLE_PARAMETERS) | {"reference_images": []},
        id="job_test",
        status=status,
        operation="generation",
        model="test",
        prompt="This is a test.",
        n=1,
        image=None,
        mask=None,
        priority=0,
        metadata={},
        attempts=1,
        images=[],
        error=JobError(code="test", message="This is a test.") if status is JobStatus.FAILED else None,
        warnings=[],
        retried_from=None,
        cancel_requested_at=None,
        created_at=moment,
        started_at=moment,
        finished_at=moment if status.is_final else None,
        expires_at=moment,
        urls=job_urls("job_test", base_url),
    )
