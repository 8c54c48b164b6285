"""Jobs in the database, brought to a state by the verbs themselves."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa

from core import jobs, keys, leases, submits
from core.db import Database, Statement
from core.generation_errors import OutOfMemory
from core.ids import new_id
from core.jobs import StoredImage
from core.new_job import NewJob
from core.parameters.job import ResolvedParameters
from core.rows.job import EndedJob, JobRow
from core.scopes import DEFAULT_SCOPES, Scope
from core.status import JobStatus
from core.tables import DEFAULT_PROJECT, job_events
from core.tables import jobs as table

LEASE = timedelta(seconds=30)
LONG = timedelta(hours=1)


def a_job(**fields: Any) -> NewJob:
    """A request that the database takes; `fields` are of the job or of its parameters."""
    defaults: dict[str, Any] = {
        "id": new_id("job"),
        "project_id": DEFAULT_PROJECT,
        "operation": "generation",
        "model": "fake",
        "prompt": "a cat",
        "n": 1,
        "queue": "local",
        "microbatch_key": "fake",
        "microbatch_size": 8,
        "priority": 0,
        "cost": 1.0,
        "max_attempts": 3,
        "ttl": LONG,
    }
    parameters: dict[str, Any] = {"size": "64x64", "steps": 5, "guidance_scale": 5.0, "seed": 7}
    parameters |= {name: value for name, value in fields.items() if name in ResolvedParameters.model_fields}
    own = {name: value for name, value in fields.items() if name not in parameters}
    return NewJob(**defaults | own, parameters=ResolvedParameters(**parameters))


def an_image(job_id: str, index: int = 0) -> StoredImage:
    """An image as `complete` records it."""
    return StoredImage(
        id=new_id("img"), index=index, seed=7 + index, storage_key=f"jobs/{job_id}/{uuid4().hex}/{index}.png",
        media_type="image/png", width=64, height=64, bytes=100, sha256="0" * 64, receipt={"device": "cpu"},
    )  # fmt: skip


def a_key(
    database: Database,
    project_id: str = DEFAULT_PROJECT,
    scopes: Sequence[Scope] = DEFAULT_SCOPES,
    expires_in: timedelta | None = None,
) -> str:
    """A new API key of a project."""
    key = keys.new_key()
    database.execute(keys.add(key, project_id, "a test's", scopes, expires_in))
    return key


def a_project(database: Database, name: str) -> str:
    """A new project's id."""
    (project,) = database.execute(keys.add_project(name))
    return project


def claim(lease: UUID, **options: Any) -> Statement[JobRow]:
    return leases.claim("local", lease, "tester", length=LEASE, attempt_timeout=LONG, **options)


def in_state(database: Database, status: JobStatus) -> tuple[str, UUID]:
    """A job brought to a status by the verbs themselves, and the last lease it had."""
    job = a_job(ttl=timedelta(milliseconds=1) if status is JobStatus.EXPIRED else LONG)
    lease = uuid4()
    database.execute(submits.submit(job))
    statements: dict[JobStatus, list[Statement[JobRow] | Statement[EndedJob]]] = {
        JobStatus.QUEUED: [],
        JobStatus.IN_PROGRESS: [claim(lease)],
        JobStatus.COMPLETED: [claim(lease), jobs.complete(job.id, lease, [an_image(job.id)])],
        JobStatus.FAILED: [claim(lease), jobs.fail(job.id, lease, OutOfMemory())],
        JobStatus.CANCELLED: [jobs.cancel(DEFAULT_PROJECT, job.id)],
        JobStatus.EXPIRED: [jobs.expire(100)],
    }
    if status is JobStatus.EXPIRED:
        database.execute(sa.select(sa.func.pg_sleep(0.005)))  # longer than its ttl
    for statement in statements[status]:
        database.execute(statement)
    assert job_row(database, job.id).status == status
    return job.id, lease


def a_completed_job(database: Database, **fields: Any) -> str:
    """A job with one image; returns its id."""
    job, lease = a_job(**fields), uuid4()
    database.execute(submits.submit(job))
    database.execute(claim(lease))
    database.execute(jobs.complete(job.id, lease, [an_image(job.id)]))
    return job.id


def submit_prompts(database: Database, *prompts: str, **fields: Any) -> list[str]:
    """Submit a job for each prompt, in this order, and return their ids."""
    new_jobs = [a_job(prompt=prompt, **fields) for prompt in prompts]
    for job in new_jobs:
        database.execute(submits.submit(job))
    return [job.id for job in new_jobs]


def claim_prompts(database: Database, **options: Any) -> list[str]:
    """Claim a micro-batch and return the prompts of its jobs."""
    return [job.prompt for job in database.execute(claim(uuid4(), **options))]


def job_row(database: Database, job_id: str) -> sa.Row[Any]:
    return database.execute(sa.select(table).where(table.c.id == job_id))[0]


def event_types(database: Database, job_id: str) -> list[str]:
    """The types of a job's events, the oldest first."""
    events = database.execute(
        sa.select(job_events.c.type).where(job_events.c.job_id == job_id).order_by(job_events.c.seq)
    )
    return [event.type for event in events]
