"""Reports for operators: failures by code, slow jobs, jobs that crashed workers, dead deliveries, storage."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import sqlalchemy as sa

from core import jobs, submits, tables
from core.db import Database
from core.generation_errors import GeneratorFailed, OutOfMemory
from core.outbox import dead
from core.reports import job_reports, storage_use
from core.reports.storage_use import ProjectStorage
from tests.factories import a_completed_job, a_job, a_project, claim
from tests.stack import settings_of
from worker.sweep.cleanup import Cleanup

HOUR = timedelta(hours=1)


def fail(database: Database, error: OutOfMemory | GeneratorFailed, **fields: object) -> str:
    job, lease = a_job(microbatch_size=1, **fields), uuid4()
    database.execute(submits.submit(job))
    database.execute(claim(lease))
    database.execute(jobs.fail(job.id, lease, error))
    return job.id


def test_failures_are_counted_by_code_and_time(database: Database) -> None:
    for error in (OutOfMemory(), GeneratorFailed(), OutOfMemory()):
        fail(database, error)
    earlier = fail(database, OutOfMemory())
    database.execute(
        sa.update(tables.jobs).where(tables.jobs.c.id == earlier).values(finished_at=sa.func.now() - 2 * HOUR)
    )
    end = datetime.now(UTC) + timedelta(minutes=1)

    def counts(**options: int) -> list[tuple[str, int]]:
        statement = job_reports.count_failures(end - 3 * HOUR, end, HOUR, limit=10, **options)
        return [(row.code, row.jobs) for row in database.execute(statement)]

    assert counts() == [("out_of_memory", 2), ("generator_failed", 1), ("out_of_memory", 1)]
    assert sum(count for _, count in counts(counted_jobs=2)) == 2


def test_the_slowest_jobs_come_first_by_what_makes_them_slow(database: Database) -> None:
    ids = [a_completed_job(database) for _ in range(3)]
    columns = tables.jobs.c
    changes = {
        ids[0]: {"started_at": columns.finished_at - timedelta(minutes=5)},
        ids[1]: {"created_at": columns.started_at - timedelta(minutes=9)},
    }
    for job_id, values in changes.items():
        database.execute(sa.update(tables.jobs).where(columns.id == job_id).values(values))

    by_run = database.execute(job_reports.list_slow("run", limit=10))
    by_wait = database.execute(job_reports.list_slow("wait", limit=1))

    assert by_run[0].id == ids[0]
    assert by_run[0].run_seconds == 300.0
    assert [row.id for row in by_wait] == [ids[1]]


def test_a_crashed_job_names_the_workers_that_had_it(database: Database) -> None:
    job, calm = a_job(), a_job(queue="other")
    database.execute(submits.submit(job, calm))
    for _ in range(2):
        database.execute(claim(uuid4()))
        database.execute(
            sa.update(tables.jobs).where(tables.jobs.c.id == job.id).values(lease_expires_at=sa.func.now())
        )
        database.execute(jobs.reclaim(5, 10))

    (crashed,) = database.execute(job_reports.list_crashed(limit=10))

    assert (crashed.id, crashed.crashes, crashed.status, crashed.workers) == (job.id, 2, "queued", ["tester"])
    assert crashed.crashed_at is not None
    assert crashed.crashed_at > crashed.created_at
    assert database.execute(job_reports.list_crashed(limit=10, after=job.id)) == []


def test_dead_deliveries_are_listed_and_counted_by_destination(database: Database) -> None:
    job_id = a_completed_job(database)
    rows = [
        {
            "project_id": "proj_default", "job_id": job_id, "destination": destination, "event_id": f"evt_{number}",
            "event_type": "job.completed", "event_at": datetime.now(UTC), "status": status, "status_code": 500,
            "finished_at": datetime.now(UTC) if status == "failed" else None,
        }
        for number, (destination, status) in enumerate(
            [("we_1", "failed"), ("we_2", "failed"), ("we_2", "failed"), ("we_2", "pending")]
        )
    ]  # fmt: skip
    for row in rows:
        database.execute(sa.insert(tables.webhook_deliveries).values(row))

    listed = database.execute(dead.list_dead(limit=2))
    rest = database.execute(dead.list_dead(limit=2, after=listed[-1].id))

    assert len(listed) == 2
    assert len(rest) == 1
    assert {row.status_code for row in listed} == {500}
    counts = database.execute(dead.count_dead(limit=10))
    assert [(row.destination, row.deliveries) for row in counts] == [("we_2", 2), ("we_1", 1)]


def test_the_sweep_counts_what_each_project_stores(database: Database) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    settings = settings_of({"SAFELIGHT_DATABASE_URL": url})
    other = a_project(database, "other")
    a_completed_job(database)
    a_completed_job(database)
    a_completed_job(database, project_id=other)
    file = {"id": "file-1", "project_id": other, "purpose": "vision", "filename": "a", "storage_key": "f/1", "bytes": 7}
    database.execute(sa.insert(tables.files).values(file))
    database.execute(storage_use.record({"proj_gone": ProjectStorage(1, 1, 1, 1)}))

    cleanup = Cleanup(settings)
    for _ in cleanup.count_storage():
        pass
    cleanup.close()

    uses = database.execute(storage_use.list_use())
    counts = {row.project_id: (row.images, row.image_bytes, row.files, row.file_bytes) for row in uses}
    assert counts == {"proj_default": (2, 200, 0, 0), other: (1, 100, 1, 7)}
    assert uses[0].project_id == "proj_default"
