"""A worker whose device is broken leaves and costs its jobs nothing; a job that breaks every device is given up."""

import sqlalchemy as sa

from core.tables import job_events, jobs
from tests.processes import Process
from tests.stack import CATALOG, Stack

BROKEN = CATALOG.replace("faults = true", "faults = true, broken = true")


def a_broken_worker(stack: Stack) -> Process:
    """A worker every call of whose device fails."""
    catalog = stack.directory / "broken.toml"
    catalog.write_text(BROKEN)
    return stack.worker("broken", SAFELIGHT_CATALOG=str(catalog), CUDA_VISIBLE_DEVICES="1")


def device_failures(stack: Stack) -> list[str]:
    """The jobs that were given back because a device failed."""
    given_back = sa.select(job_events.c.job_id).where(job_events.c.data["reason"].astext == "device_failed")
    return [row.job_id for row in stack.database.execute(given_back)]


def test_a_worker_with_a_broken_device_leaves_and_no_job_fails(own: Stack) -> None:
    own.api()
    submitted = [own.submit(f"cat {number}", steps=number % 4 + 1) for number in range(40)]
    broken = a_broken_worker(own)

    assert broken.wait() == 71
    given_back = set(device_failures(own))
    own.worker("healthy")

    finals = [own.final(job["id"]) for job in submitted]
    assert {job["status"] for job in finals} == {"completed"}
    assert given_back
    rows = own.database.execute(sa.select(jobs.c.failures, jobs.c.crashes))
    assert {tuple(row) for row in rows} == {(0, 0)}
    assert "worker leaves: exit_code=71 device=" in broken.output()


def test_a_job_that_breaks_every_device_is_given_up_and_its_companions_complete(own: Stack) -> None:
    own.api()
    cat, poison, dog = (own.submit(prompt) for prompt in ("a cat", "[break] the device", "a dog"))

    first = own.worker("first", CUDA_VISIBLE_DEVICES="1")
    assert own.until(poison["id"], "job.requeued")["data"]["reason"] == "device_failed"
    finals = [own.final(job["id"]) for job in (cat, dog)]
    assert first.terminate() == 0  # a single failure of its device does not make a worker leave
    own.worker("second", CUDA_VISIBLE_DEVICES="2")

    final = own.final(poison["id"])
    assert (final["status"], final["error"]["code"]) == ("failed", "poison_job")
    assert [job["status"] for job in finals] == ["completed", "completed"]
