"""What state a job can be in, and the arrows between them. The docs' chart and the exhaustive test come from here."""

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


def mermaid() -> str:
    """The arrows as a Mermaid state chart, for `docs/02-jobs.md`."""
    lines = ["stateDiagram-v2", "    [*] --> queued: submit"]
    for status, followers in ARROWS.items():
        lines += [f"    {status} --> {follower}" for follower in JobStatus if follower in followers]
        if status.is_final:
            lines.append(f"    {status} --> [*]")
    return "\n".join(lines)
