"""How soon the jobs of a killed worker run again, under load, in parts: lease, sweep, claim, and one after another.

The jobs of a micro-batch that was lost run alone, each by itself, so that one of them that kills its worker is found:
the last of them waits for all others. This is measured apart from what the sweep and the notification cost.
"""

from collections import defaultdict
from datetime import datetime

import pytest
import sqlalchemy as sa

from core.status import JobStatus
from core.tables import job_events, jobs
from tests.processes import Process
from tests.stack import Stack

KILLS = 1
STEP_SECONDS = 0.1
STEPS = 5


@pytest.mark.slow  # a measurement; test_workers_die.py has what must hold
def test_lost_jobs_are_taken_back_within_lease_and_sweep_and_started_at_once(own: Stack) -> None:
    own.api()
    own.sweep()
    own.worker("heir")
    taken_back: list[float] = []
    first_started: list[float] = []
    for number in range(KILLS):
        victim = own.worker(f"victim{number}")
        submitted = [own.submit(model="slow", steps=STEPS)["id"] for _ in range(32)]
        until_busy(own, victim, submitted)
        killed_at = kill(own, victim)
        lost = in_progress(own, victim)
        finals = [own.final(job_id) for job_id in submitted]
        assert {final["status"] for final in finals} == {"completed"}
        times = requeued_and_started(own, lost, killed_at)
        assert len(times) == len(lost) > 0
        taken_back += [(requeued - killed_at).total_seconds() for requeued, _ in times]
        starts = sorted(round((started - requeued).total_seconds(), 2) for requeued, started in times)
        first_started.append(starts[0])
        print(f"\n{len(lost)} jobs lost: taken back after {max(taken_back):.2f} s, started {starts} s later")

    promise = (own.settings.lease + own.settings.sweep).total_seconds()
    print(f"taken back after {max(taken_back) / promise:.2f} of lease + sweep")
    assert max(taken_back) < 1.2 * promise
    assert max(first_started) < own.settings.poll.total_seconds() + 2 * STEPS * STEP_SECONDS


def in_progress(stack: Stack, worker: Process) -> list[str]:
    """The jobs that a worker has claimed."""
    statement = sa.select(jobs.c.id).where(
        jobs.c.status == JobStatus.IN_PROGRESS, jobs.c.worker.endswith(f":{worker.pid}")
    )
    return [row.id for row in stack.database.execute(statement)]


def until_busy(stack: Stack, worker: Process, job_ids: list[str]) -> None:
    """Wait until a worker has claimed some of these jobs."""
    for job_id in job_ids:
        stack.until(job_id, "job.started")
        if in_progress(stack, worker):
            return
    raise AssertionError(f"{worker.name} claimed nothing:\n{worker.output()}")


def kill(stack: Stack, worker: Process) -> datetime:
    worker.kill()
    now: datetime = stack.database.execute(sa.select(sa.func.clock_timestamp()))[0][0]
    return now


def requeued_and_started(stack: Stack, job_ids: list[str], killed_at: datetime) -> list[tuple[datetime, datetime]]:
    """When each of the jobs was put in line again after the kill, and when it was started after that."""
    found: dict[str, list[datetime]] = defaultdict(list)
    events = (
        sa.select(job_events.c.job_id, job_events.c.type, job_events.c.created_at)
        .where(
            job_events.c.job_id.in_(job_ids),
            job_events.c.created_at > killed_at,
            job_events.c.type.in_(["job.requeued", "job.started"]),
        )
        .order_by(job_events.c.id)
    )
    for row in stack.database.execute(events):
        found[row.job_id].append(row.created_at)
    return [(times[0], times[1]) for times in found.values() if len(times) >= 2]
