"""The statuses of jobs, batches, deliveries and provider calls, and the transitions between them.

The state charts of the docs and the exhaustive tests of the verbs are derived from the transitions.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar


class JobStatus(StrEnum):
    """The status of a job. The reason for it is in the job's `error` and in the event's `reason`."""

    QUEUED = "queued"
    """Waits for a worker. Left by `claim`, `cancel` and `expire`."""

    IN_PROGRESS = "in_progress"
    """A worker has the lease. Left by the worker with the lease's token, or by the sweep when the lease has expired."""

    COMPLETED = "completed"
    """All images are stored. Final."""

    FAILED = "failed"
    """There is no further attempt; `error` has the reason. Final."""

    CANCELLED = "cancelled"
    """The owner cancelled it. Final."""

    EXPIRED = "expired"
    """Waited longer than it may. Final."""

    @property
    def is_final(self) -> bool:
        """Whether the status cannot change any more."""
        return not JOB_TRANSITIONS[self]


JOB_TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.IN_PROGRESS, JobStatus.CANCELLED, JobStatus.EXPIRED}),
    JobStatus.IN_PROGRESS: frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
    JobStatus.EXPIRED: frozenset(),
}
"""The statuses that may follow each one. `in_progress -> queued`: an expired lease, or an error with attempts left."""

FINAL = tuple(status for status in JobStatus if status.is_final)


class BatchStatus(StrEnum):
    """The status of a batch, with OpenAI's names."""

    VALIDATING = "validating"
    """Its lines are read and checked; no job exists yet."""

    FAILED = "failed"
    """It has invalid lines, which `errors` lists; nothing ran. Final."""

    IN_PROGRESS = "in_progress"
    """Its jobs are queued or run."""

    CANCELLING = "cancelling"
    """The owner cancelled it; its jobs are being cancelled."""

    FINALIZING = "finalizing"
    """All jobs are final; the output files are being written."""

    COMPLETED = "completed"
    """All jobs ran; the result of each line is in a file. Final."""

    EXPIRED = "expired"
    """The completion window ended before all jobs did; the results that exist are in the files. Final."""

    CANCELLED = "cancelled"
    """Cancelled; the results that exist are in the files. Final."""

    @property
    def is_final(self) -> bool:
        """Whether the status cannot change any more."""
        return not BATCH_TRANSITIONS[self]


BATCH_TRANSITIONS: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.VALIDATING: frozenset({BatchStatus.IN_PROGRESS, BatchStatus.FAILED, BatchStatus.CANCELLED}),
    BatchStatus.FAILED: frozenset(),
    BatchStatus.IN_PROGRESS: frozenset({BatchStatus.FINALIZING, BatchStatus.CANCELLING}),
    BatchStatus.CANCELLING: frozenset({BatchStatus.FINALIZING}),
    BatchStatus.FINALIZING: frozenset(
        {BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED, BatchStatus.FAILED}
    ),
    BatchStatus.COMPLETED: frozenset(),
    BatchStatus.EXPIRED: frozenset(),
    BatchStatus.CANCELLED: frozenset(),
}
"""The statuses that may follow each status of a batch."""

BATCH_FINAL = tuple(status for status in BatchStatus if status.is_final)


class FineTuningStatus(StrEnum):
    """The status of a fine-tuning job, with OpenAI's names."""

    VALIDATING_FILES = "validating_files"
    """Its training file is read and checked."""

    QUEUED = "queued"
    """The file is valid; the training waits for a worker."""

    RUNNING = "running"
    """It is trained, or goes on from its last saved step when its worker has died."""

    SUCCEEDED = "succeeded"
    """The model is in storage. Final."""

    FAILED = "failed"
    """The file is not valid, or the training failed; `error` has the reason. Final."""

    CANCELLED = "cancelled"
    """The owner cancelled it. Its checkpoints stay. Final."""

    @property
    def is_final(self) -> bool:
        """Whether the status cannot change any more."""
        return not FINE_TUNING_TRANSITIONS[self]


FINE_TUNING_TRANSITIONS: dict[FineTuningStatus, frozenset[FineTuningStatus]] = {
    FineTuningStatus.VALIDATING_FILES: frozenset(
        {FineTuningStatus.QUEUED, FineTuningStatus.FAILED, FineTuningStatus.CANCELLED}
    ),
    FineTuningStatus.QUEUED: frozenset({FineTuningStatus.RUNNING, FineTuningStatus.FAILED, FineTuningStatus.CANCELLED}),
    FineTuningStatus.RUNNING: frozenset(
        {FineTuningStatus.SUCCEEDED, FineTuningStatus.FAILED, FineTuningStatus.CANCELLED}
    ),
    FineTuningStatus.SUCCEEDED: frozenset(),
    FineTuningStatus.FAILED: frozenset(),
    FineTuningStatus.CANCELLED: frozenset(),
}
"""The statuses that may follow each status of a fine-tuning job."""

FINE_TUNING_FINAL = tuple(status for status in FineTuningStatus if status.is_final)


class DeliveryStatus(StrEnum):
    """The status of a delivery of an event."""

    PENDING = "pending"
    """Waits for its next attempt, or is being sent."""

    DELIVERED = "delivered"
    """The receiver returned 2xx. Final."""

    FAILED = "failed"
    """There is no further attempt. Final; a redelivery is a new delivery."""

    @property
    def is_final(self) -> bool:
        """Whether the status cannot change any more."""
        return not DELIVERY_TRANSITIONS[self]


DELIVERY_TRANSITIONS: dict[DeliveryStatus, frozenset[DeliveryStatus]] = {
    DeliveryStatus.PENDING: frozenset({DeliveryStatus.DELIVERED, DeliveryStatus.FAILED}),
    DeliveryStatus.DELIVERED: frozenset(),
    DeliveryStatus.FAILED: frozenset(),
}
"""The statuses that may follow each status of a delivery."""


class CallOutcome(StrEnum):
    """How a provider call ended. A call that runs, or whose worker died, has no outcome yet."""

    SUCCEEDED = "succeeded"
    """The provider returned the images."""

    REFUSED = "refused"
    """The provider rejects this request, and would reject it again."""

    LIMITED = "limited"
    """The rate limit of the provider is reached; it generated nothing."""

    FAILED = "failed"
    """Nothing was sent, or the provider reported an error; it generated nothing."""

    UNREADABLE = "unreadable"
    """The provider returned a response without a readable image."""

    UNKNOWN = "unknown"
    """The request was sent, at least in part, and there was no response."""

    ABANDONED = "abandoned"
    """The worker died or lost its lease before it could record the outcome."""

    @property
    def may_be_billed(self) -> bool:
        """Whether the provider may have generated images, so that a second call may be billed again."""
        return self in _MAY_BE_BILLED

    @property
    def blames_provider(self) -> bool:
        """Whether it indicates that the provider, or the network to it, does not work."""
        return self in (CallOutcome.FAILED, CallOutcome.UNREADABLE, CallOutcome.UNKNOWN)


_MAY_BE_BILLED = frozenset({CallOutcome.SUCCEEDED, CallOutcome.UNREADABLE, CallOutcome.UNKNOWN, CallOutcome.ABANDONED})

StatusT = TypeVar("StatusT", JobStatus, BatchStatus, FineTuningStatus, DeliveryStatus)


def mermaid(transitions: Mapping[StatusT, frozenset[StatusT]], *initial: StatusT) -> str:
    """A Mermaid state chart of transitions, for the docs. initial: the statuses of new rows."""
    chart = ["stateDiagram-v2", *(f"    [*] --> {status}" for status in initial)]
    for status in transitions:
        chart += [f"    {status} --> {follower}" for follower in transitions if follower in transitions[status]]
        if status.is_final:
            chart.append(f"    {status} --> [*]")
    return "\n".join(chart)
