"""The types of events. Each list of event types in the project is derived from this table.

A new type needs a row here, the verb that writes the event, and a test of that verb.
"""

from dataclasses import dataclass
from typing import Literal

from core.status import BatchStatus, JobStatus

Subject = Literal["job", "batch"]


@dataclass(frozen=True, slots=True)
class EventType:
    """A type of event."""

    name: str
    status: JobStatus | BatchStatus  # of the job or the batch after the event
    for_webhooks: bool  # False: only the event stream has it
    description: str

    @property
    def subject(self) -> Subject:
        """What the event is about."""
        return "job" if isinstance(self.status, JobStatus) else "batch"

    @property
    def is_final(self) -> bool:
        """Whether it is the last event of its job or batch."""
        return self.status.is_final


EVENT_TYPES = {
    event_type.name: event_type
    for event_type in (
        EventType("job.queued", JobStatus.QUEUED, False, "The job was submitted."),
        EventType("job.started", JobStatus.IN_PROGRESS, True, "A worker has claimed the job. One for each attempt."),
        EventType("job.requeued", JobStatus.QUEUED, False, "The job waits for another attempt."),
        EventType("job.cancel_requested", JobStatus.IN_PROGRESS, False, "The worker is to stop the running job."),
        EventType("job.completed", JobStatus.COMPLETED, True, "All images are stored."),
        EventType("job.failed", JobStatus.FAILED, True, "The job failed, and there is no further attempt."),
        EventType("job.cancelled", JobStatus.CANCELLED, True, "The job was cancelled."),
        EventType("job.expired", JobStatus.EXPIRED, True, "The job waited longer than it may."),
        EventType("batch.validating", BatchStatus.VALIDATING, False, "The batch was submitted; its file is read."),
        EventType("batch.failed", BatchStatus.FAILED, True, "The input file has invalid lines; no job ran."),
        EventType("batch.in_progress", BatchStatus.IN_PROGRESS, False, "All lines are valid; the jobs are queued."),
        EventType("batch.cancelling", BatchStatus.CANCELLING, False, "The jobs of the batch are being cancelled."),
        EventType("batch.finalizing", BatchStatus.FINALIZING, False, "All jobs are final; files are being written."),
        EventType("batch.completed", BatchStatus.COMPLETED, True, "The output files of the batch are written."),
        EventType("batch.expired", BatchStatus.EXPIRED, True, "The completion window ended before all jobs did."),
        EventType("batch.cancelled", BatchStatus.CANCELLED, True, "The batch was cancelled."),
    )
}
"""All types by name, in the order in which the API lists them."""


def event_names(subject: Subject | None = None, *, final: bool = False, for_webhooks: bool = False) -> list[str]:
    """The names of the types of a subject or, without one, of all; only final ones, only those for webhooks."""
    return [
        event_type.name
        for event_type in EVENT_TYPES.values()
        if subject in (None, event_type.subject)
        and (event_type.is_final or not final)
        and (event_type.for_webhooks or not for_webhooks)
    ]
