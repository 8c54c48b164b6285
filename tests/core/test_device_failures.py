"""`give_back`: which jobs a broken device costs nothing, and when a job is to blame."""

from datetime import timedelta
from uuid import uuid4

import pytest

from core.db import Database
from core.device_failures import MAX_FAILURES, give_back
from core.rows.job import JobRow
from tests.factories import claim, submit_prompts

NO_DELAY = timedelta(0)


def fail_on(database: Database, device: str, *, is_alone: bool = True) -> list[JobRow]:
    """Claim a micro-batch, and give its jobs back as the device has failed."""
    lease = uuid4()
    rows = database.execute(claim(lease))
    return [
        row
        for job in rows
        for row in database.execute(give_back(job.id, lease, device, is_alone=is_alone, delay=NO_DELAY))
    ]


@pytest.mark.parametrize(("devices", "failures"), [(("a", "b"), 2), (("a",), MAX_FAILURES)])
def test_a_job_fails_under_which_several_devices_or_a_device_often_failed(
    database: Database, devices: tuple[str, ...], failures: int
) -> None:
    submit_prompts(database, "a cat")
    rows = [row for number in range(failures) for row in fail_on(database, devices[number % len(devices)])]
    assert [row.status for row in rows] == ["queued"] * (failures - 1) + ["failed"]
    assert rows[-1].error_code == "poison_job"
    assert {(row.failures, row.crashes) for row in rows} == {(0, 0)}


def test_jobs_that_shared_a_micro_batch_are_not_blamed_and_run_alone(database: Database) -> None:
    ids = submit_prompts(database, "a cat", "a dog")
    assert {row.id for row in fail_on(database, "a", is_alone=False)} == set(ids)
    (first,) = database.execute(claim(uuid4()))
    (second,) = database.execute(claim(uuid4()))
    assert {first.id, second.id} == set(ids)


def test_a_job_waits_after_a_failure(database: Database) -> None:
    submit_prompts(database, "a cat")
    lease = uuid4()
    (job,) = database.execute(claim(lease))
    (row,) = database.execute(give_back(job.id, lease, "a", is_alone=True, delay=timedelta(hours=1)))
    assert row.not_before > row.created_at + timedelta(minutes=59)
    assert not database.execute(claim(uuid4()))
