"""What state a job or a batch can be in, and the arrows between them; how a call to a provider and a delivery can end.

The docs' chart and the exhaustive test come from here.
"""

from enum import StrEnum


class JobStatus(StrEnum):
    """The life of a job. Why it got there is not here: see the job's `error` and the event's `reason`."""

    QUEUED = "queued"
    """Waits for a worker. Left by `claim`, `cancel` and `expire`."""

    IN_PROGRESS = "in_progress"
    """A worker holds the lease. Left by whoever shows its token, and by the sweep once the lease has run out."""

    COMPLETED = "completed"
    """Every image is stored. Final."""

    FAILED = "failed"
    """Will not be tried again; `error` says why. Final."""

    CANCELLED = "cancelled"
    """Its owner did not want it any more. Final."""

    EXPIRED = "expired"
    """Waited longer than it may. Final."""

    @property
    def is_final(self) -> bool:
        """Whether nothing can change it any more."""
        return not ARROWS[self]


ARROWS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.IN_PROGRESS, JobStatus.CANCELLED, JobStatus.EXPIRED}),
    JobStatus.IN_PROGRESS: frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.QUEUED}),
    JobStatus.COMPLETED: frozenset(),
    JobStatus.FAILED: frozenset(),
    JobStatus.CANCELLED: frozenset(),
    JobStatus.EXPIRED: frozenset(),
}
"""Which status may follow which. `in_progress -> queued` is a lost lease or an error with attempts left."""

FINAL = tuple(status for status in JobStatus if status.is_final)


class BatchStatus(StrEnum):
    """The life of a batch, in OpenAI's words."""

    VALIDATING = "validating"
    """Its lines are being read; no job exists yet."""

    FAILED = "failed"
    """A line was wrong, so that nothing ran; `errors` says which and why. Final."""

    IN_PROGRESS = "in_progress"
    """Its jobs wait or are drawn."""

    CANCELLING = "cancelling"
    """Its owner does not want it any more; its jobs are being stopped."""

    FINALIZING = "finalizing"
    """Every job has ended; the output files are being written."""

    COMPLETED = "completed"
    """Every line has its answer in a file. Final."""

    EXPIRED = "expired"
    """The completion window ended before its jobs did; what was ready is in the files. Final."""

    CANCELLED = "cancelled"
    """Stopped; what was ready is in the files. Final."""

    @property
    def is_final(self) -> bool:
        """Whether nothing can change it any more."""
        return not BATCH_ARROWS[self]


BATCH_ARROWS: dict[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.VALIDATING: frozenset({BatchStatus.IN_PROGRESS, BatchStatus.FAILED, BatchStatus.CANCELLED}),
    BatchStatus.FAILED: frozenset(),
    BatchStatus.IN_PROGRESS: frozenset({BatchStatus.FINALIZING, BatchStatus.CANCELLING}),
    BatchStatus.CANCELLING: frozenset({BatchStatus.FINALIZING}),
    BatchStatus.FINALIZING: frozenset({BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED}),
    BatchStatus.COMPLETED: frozenset(),
    BatchStatus.EXPIRED: frozenset(),
    BatchStatus.CANCELLED: frozenset(),
}
"""Which status of a batch may follow which."""

BATCH_FINAL = tuple(status for status in BatchStatus if status.is_final)


class DeliveryStatus(StrEnum):
    """What came of an event on its way to a receiver."""

    PENDING = "pending"
    """Waits for its time, or is being sent."""

    DELIVERED = "delivered"
    """The receiver took it: it answered 2xx."""

    FAILED = "failed"
    """Given up; it can be sent again by hand."""


class CallOutcome(StrEnum):
    """How a call to a provider ended. One that is under way, or whose worker died, has none yet."""

    SUCCEEDED = "succeeded"
    """The images came."""

    REFUSED = "refused"
    """The provider does not draw this request, whoever asks how often."""

    LIMITED = "limited"
    """Too many calls or images at a time; nothing was drawn."""

    FAILED = "failed"
    """Nothing was sent, or the provider said that it failed; nothing was drawn."""

    UNREADABLE = "unreadable"
    """An answer came, but no image can be made of it."""

    UNKNOWN = "unknown"
    """The request was sent, at least in part, and no answer came."""

    ABANDONED = "abandoned"
    """The worker died or lost the job before it could tell."""

    @property
    def may_be_billed(self) -> bool:
        """Whether the provider may have drawn, so that to ask again may cost a second time."""
        return self in _PERHAPS_DRAWN

    @property
    def blames_provider(self) -> bool:
        """Whether it is a sign that the provider, or the way to it, does not work."""
        return self in (CallOutcome.FAILED, CallOutcome.UNREADABLE, CallOutcome.UNKNOWN)


_PERHAPS_DRAWN = frozenset({CallOutcome.SUCCEEDED, CallOutcome.UNREADABLE, CallOutcome.UNKNOWN, CallOutcome.ABANDONED})


def mermaid() -> str:
    """The arrows as a Mermaid state chart, for `docs/02-jobs.md`."""
    lines = ["stateDiagram-v2", "    [*] --> queued: submit"]
    for status, followers in ARROWS.items():
        lines += [f"    {status} --> {follower}" for follower in JobStatus if follower in followers]
        if status.is_final:
            lines.append(f"    {status} --> [*]")
    return "\n".join(lines)
