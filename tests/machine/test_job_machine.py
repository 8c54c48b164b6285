"""A random walk over the verbs on a real Postgres, compared with a model of what each must do."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from core import jobs, leases, submits
from core.db import Database
from core.generation_errors import GeneratorFailed, OutOfMemory
from core.status import JOB_TRANSITIONS, JobStatus
from core.tables import DEFAULT_PROJECT, images, job_events
from core.tables import jobs as table
from tests.factories import LEASE, LONG, a_job, an_image

MAX_CRASHES = 2


@dataclass
class Believed:
    """What the model knows of a job."""

    status: JobStatus = JobStatus.QUEUED
    lease: UUID | None = None
    wished: bool = False
    attempts: int = 0
    failures: int = 0
    crashes: int = 0


class JobMachine(RuleBasedStateMachine):
    """Each rule does one thing to the database and to the model; the invariants compare them."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.believed: dict[str, Believed] = {}

    submitted = Bundle("submitted")
    tokens = Bundle("tokens")

    @initialize()
    def empty(self) -> None:
        self.database.execute(
            sa.text("TRUNCATE jobs, paid_images, images, job_events, webhook_deliveries, webhook_attempts")
        )

    @rule(target=submitted, key=st.sampled_from(["x", "y"]), n=st.integers(1, 3))
    def submit(self, key: str, n: int) -> str:
        job = a_job(microbatch_key=key, n=n, microbatch_size=4, max_attempts=2)
        self.database.execute(submits.submit(job))
        self.believed[job.id] = Believed()
        return job.id

    @rule(target=tokens)
    def claim(self) -> UUID:
        lease = uuid4()
        rows = self.database.execute(leases.claim("local", lease, "w", length=LEASE, attempt_timeout=LONG))
        queued_jobs = [job for job in self.believed.values() if job.status is JobStatus.QUEUED]
        assert bool(rows) == bool(queued_jobs)
        assert sum(row.n for row in rows) <= 4
        assert len({row.microbatch_key for row in rows}) <= 1
        assert len(rows) <= 1 or all(self.believed[row.id].crashes == 0 for row in rows)
        for row in rows:
            job = self.believed[row.id]
            assert job.status is JobStatus.QUEUED
            job.status, job.lease, job.attempts = JobStatus.IN_PROGRESS, lease, job.attempts + 1
        return lease

    def _is_held(self, job_id: str, lease: UUID) -> bool:
        job = self.believed[job_id]
        return job.status is JobStatus.IN_PROGRESS and job.lease == lease

    @rule(job_id=submitted, lease=tokens)
    def complete(self, job_id: str, lease: UUID) -> None:
        rows = self.database.execute(jobs.complete(job_id, lease, [an_image(job_id)]))
        assert bool(rows) == self._is_held(job_id, lease)
        if rows:
            self._end(job_id, JobStatus.COMPLETED)

    @rule(job_id=submitted, lease=tokens)
    def fail(self, job_id: str, lease: UUID) -> None:
        rows = self.database.execute(jobs.fail(job_id, lease, OutOfMemory()))
        assert bool(rows) == self._is_held(job_id, lease)
        if rows:
            self.believed[job_id].failures += 1
            self._end(job_id, JobStatus.CANCELLED if self.believed[job_id].wished else JobStatus.FAILED)

    @rule(job_id=submitted, lease=tokens, blamed=st.booleans())
    def requeue(self, job_id: str, lease: UUID, blamed: bool) -> None:
        error = GeneratorFailed() if blamed else None
        rows = self.database.execute(jobs.requeue(job_id, lease, "why", error=error))
        assert bool(rows) == self._is_held(job_id, lease)
        if rows:
            self.believed[job_id].failures += blamed
            self._back(job_id, is_exhausted=blamed and self.believed[job_id].failures >= 2)

    @rule(lease=tokens)
    def the_lease_runs_out(self, lease: UUID) -> None:
        expired_at = sa.func.clock_timestamp() - timedelta(seconds=1)
        self.database.execute(sa.update(table).where(table.c.lease == lease).values(lease_expires_at=expired_at))
        lost_jobs = {job_id for job_id in self.believed if self._is_held(job_id, lease)}
        assert not self.database.execute(leases.renew(lease, LEASE))
        reclaimed = {row.id for row in self.database.execute(jobs.reclaim(MAX_CRASHES, 100))}
        assert reclaimed == lost_jobs
        for job_id in lost_jobs:
            self.believed[job_id].crashes += 1
            self._back(job_id, is_exhausted=self.believed[job_id].crashes >= MAX_CRASHES)

    @rule(job_id=submitted)
    def cancel(self, job_id: str) -> None:
        job = self.believed[job_id]
        rows = self.database.execute(jobs.cancel(DEFAULT_PROJECT, job_id))
        assert bool(rows) == (not job.status.is_final and not job.wished)
        if rows:
            job.wished = True
            if job.status is JobStatus.QUEUED:
                self._end(job_id, JobStatus.CANCELLED)

    @rule(job_id=submitted, lease=tokens)
    def acknowledge_cancel(self, job_id: str, lease: UUID) -> None:
        rows = self.database.execute(jobs.acknowledge_cancel(job_id, lease))
        assert bool(rows) == (self._is_held(job_id, lease) and self.believed[job_id].wished)
        if rows:
            self._end(job_id, JobStatus.CANCELLED)

    def _end(self, job_id: str, status: JobStatus) -> None:
        job = self.believed[job_id]
        assert status in JOB_TRANSITIONS[job.status]
        job.status, job.lease = status, None

    def _back(self, job_id: str, *, is_exhausted: bool) -> None:
        job = self.believed[job_id]
        if job.wished:
            self._end(job_id, JobStatus.CANCELLED)
        elif is_exhausted:
            self._end(job_id, JobStatus.FAILED)
        else:
            self._end(job_id, JobStatus.QUEUED)

    @invariant()
    def the_database_is_as_believed(self) -> None:
        columns = ("status", "lease", "attempts", "failures", "crashes")
        rows = self.database.execute(sa.select(table.c.id, *(table.c[name] for name in columns)))
        states = {row.id: tuple(row)[1:] for row in rows}
        assert states == {
            job_id: (job.status, job.lease, job.attempts, job.failures, job.crashes)
            for job_id, job in self.believed.items()
        }

    @invariant()
    def events_tell_the_same_story(self) -> None:
        events: dict[str, list[Any]] = {}
        for event in self.database.execute(sa.select(job_events).order_by(job_events.c.seq)):
            events.setdefault(event.job_id, []).append(event)
        for job_id, job in self.believed.items():
            assert events[job_id][-1].data["status"] == job.status
            assert sum(event.type == "job.started" for event in events[job_id]) == job.attempts
            finals = [event for event in events[job_id] if JobStatus(event.data["status"]).is_final]
            assert len(finals) == int(job.status.is_final)

    @invariant()
    def only_completed_jobs_have_images(self) -> None:
        owners = [image.job_id for image in self.database.execute(sa.select(images.c.job_id))]
        assert sorted(owners) == sorted(
            job_id for job_id, job in self.believed.items() if job.status is JobStatus.COMPLETED
        )


def test_no_order_of_verbs_breaks_the_database(database: Database) -> None:
    machine = type("MachineOnPostgres", (JobMachine,), {"database": database})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
