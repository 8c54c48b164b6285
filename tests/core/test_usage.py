"""What jobs used is recorded with their end, added up without loss, and stays when they are deleted."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from core import jobs, submits
from core.db import Database
from core.generation_errors import OutOfMemory
from core.reports import usage
from core.rows.usage import UsageBucket
from core.tables import DEFAULT_PROJECT, usage_buckets, usage_entries
from core.tables import jobs as table
from tests.factories import a_job, an_image, claim

DAY = timedelta(days=1)


def run(database: Database, *, seconds: float = 4.0, microbatch: int = 2, **fields: Any) -> str:
    """A job that completes."""
    job, lease = a_job(**fields), uuid4()
    database.execute(submits.submit(job))
    database.execute(claim(lease))
    receipt = {"device_seconds": seconds, "microbatch": microbatch}
    images = [an_image(job.id, index) | {"receipt": receipt} for index in range(job.n)]
    database.execute(jobs.complete(job.id, lease, images))
    return job.id


def totals(database: Database, **options: Any) -> list[UsageBucket]:
    start = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return database.execute(usage.list_usage(start, start + DAY, DAY, limit=100, **options))


def test_a_completed_job_has_its_share_of_the_micro_batch(database: Database) -> None:
    run(database, n=2, microbatch=8, seconds=4.0, api_key_id="key_a")

    (total,) = totals(database, group_by=["project_id", "api_key_id", "model", "size"])

    assert (total.project_id, total.api_key_id, total.model, total.size) == (DEFAULT_PROJECT, "key_a", "fake", "64x64")
    assert (total.jobs, total.images, total.bytes, total.device_seconds) == (1, 2, 200, 1.0)


def test_a_job_that_never_started_used_nothing(database: Database) -> None:
    job = a_job()
    database.execute(submits.submit(job))
    database.execute(jobs.cancel(DEFAULT_PROJECT, job.id))

    assert totals(database) == []


def test_a_job_that_failed_used_the_time_since_it_started(database: Database) -> None:
    job, lease = a_job(cost=1e-6), uuid4()
    database.execute(submits.submit(job))
    database.execute(claim(lease))
    database.execute(jobs.fail(job.id, lease, OutOfMemory()))

    (total,) = totals(database)

    assert (total.jobs, total.images, total.device_seconds) == (1, 0, 1e-6)  # up to its estimate


def test_the_sum_is_the_same_before_and_after_each_step_and_without_the_jobs(database: Database) -> None:
    job_ids = [run(database, model=model) for model in ("a", "b", "a")]
    before = totals(database, group_by=["model"])

    database.execute(usage.add_up(2))
    in_part = totals(database, group_by=["model"])
    database.execute(usage.add_up(100))
    in_minutes = totals(database, group_by=["model"])
    merged = database.execute(usage.merge_minutes(timedelta(0) - DAY, 100))
    database.execute(sa.delete(table).where(table.c.id.in_(job_ids)))
    run(database, model="a")
    database.execute(usage.add_up(100))
    database.execute(usage.merge_minutes(timedelta(0) - DAY, 100))

    assert [(total.model, total.jobs) for total in before] == [("a", 2), ("b", 1)]
    assert before == in_part == in_minutes
    assert len(merged) == 2
    assert [(total.model, total.jobs) for total in totals(database, group_by=["model"])] == [("a", 3), ("b", 1)]
    assert not database.execute(sa.select(usage_entries))
    assert {row.seconds for row in database.execute(sa.select(usage_buckets))} == {usage.HOUR}


def test_a_query_selects_projects_keys_and_models(database: Database) -> None:
    run(database, api_key_id="key_a", model="a")
    run(database, api_key_id="key_b", model="b")

    assert [total.jobs for total in totals(database, api_key_ids=["key_a"])] == [1]
    assert [total.jobs for total in totals(database, models=["a", "b"])] == [2]
    assert totals(database, project_ids=["another"]) == []
