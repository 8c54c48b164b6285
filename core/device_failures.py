"""What happens to the jobs of a device that fails: they are given back uncounted, unless a job makes every device fail.

The verb `give_back` is the only one. A job's events record where a device failed under it. They count only attempts in
which the job was alone in its micro-batch: in company, any of the jobs may be the reason.
"""

from datetime import timedelta
from uuid import UUID

import sqlalchemy as sa

from core.clock import NOW
from core.db import Statement
from core.generation_errors import DeviceFailed, PoisonJob
from core.jobs import put_back, under_lease
from core.rows.job import JobRow
from core.submits import seconds
from core.tables import job_events, jobs

MAX_DEVICES = 2
"""A job fails after the failure of so many different devices under it."""

MAX_FAILURES = 5
"""A job fails after so many failures under it, even if all are of the same device."""


def give_back(job_id: str, lease: UUID, device: str, *, is_alone: bool, delay: timedelta) -> Statement[JobRow]:
    """Put a job back into its queue, because the device failed. The attempt is not counted as a failure.

    From then on it is alone in its micro-batch. device: names the device across restarts of its worker. is_alone:
    whether the job had the device for itself. delay: doubled for each earlier failure, so that other jobs come first.
    The job fails (poison_job) if it was alone when MAX_DEVICES different devices failed, or devices MAX_FAILURES times.
    """
    place = job_events.c.data["device"].astext
    earlier = (
        sa.select(
            sa.func.count().label("failures"),
            sa.func.count(sa.distinct(place)).filter(place != device).label("other_devices"),
        )
        .where(
            job_events.c.job_id == job_id,
            job_events.c.type == "job.requeued",
            job_events.c.data["reason"].astext == DeviceFailed.code,
            place.is_not(None),
        )
        .subquery("earlier")
    )
    failures, other_devices = (sa.select(earlier.c[name]).scalar_subquery() for name in ("failures", "other_devices"))
    is_to_blame = sa.or_(other_devices + 1 >= MAX_DEVICES, failures + 1 >= MAX_FAILURES)
    alone = "|alone=" + job_id
    statement = put_back(
        under_lease(job_id, lease),
        DeviceFailed.code,
        is_exhausted=is_to_blame if is_alone else sa.false(),
        error=PoisonJob("The device failed each time under this job, on different workers."),
        device=device if is_alone else None,
        microbatch_key=sa.case(
            (jobs.c.microbatch_key.endswith(alone), jobs.c.microbatch_key), else_=jobs.c.microbatch_key + alone
        ),
        not_before=NOW + seconds(delay.total_seconds() * sa.func.power(2, failures)),
    )
    return Statement(statement, JobRow)
