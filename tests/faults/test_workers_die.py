"""Workers that die, freeze, hang or get SIGTERM in the middle of a job."""

import sqlalchemy as sa

from core.tables import images, job_events, jobs
from tests.stack import Stack


def test_a_worker_killed_in_mid_step_gives_its_job_to_another(own: Stack) -> None:
    own.api()
    own.sweep()
    victim = own.worker("victim")
    job = own.submit(model="slow", steps=20, seed=5)
    own.until(job["id"], "job.progress")

    victim.kill()
    own.worker("heir")

    final = own.final(job["id"])
    assert (final["status"], final["attempts"]) == ("completed", 2)
    kinds = [kind for kind, _ in own.events(job["id"]) if kind != "job.progress"]
    assert kinds == ["job.queued", "job.started", "job.requeued", "job.started", "job.completed"]
    reasons = [data["data"]["reason"] for kind, data in own.events(job["id"]) if kind == "job.requeued"]
    assert reasons == ["lease_expired"]


def test_a_frozen_worker_wakes_too_late_and_changes_nothing(own: Stack) -> None:
    own.api()
    own.sweep()
    frozen = own.worker("frozen")
    job = own.submit(model="slow", steps=20)
    own.until(job["id"], "job.progress")

    frozen.freeze()
    own.worker("heir")
    final = own.final(job["id"])
    before = own.database.execute(sa.select(jobs))[0]
    frozen.thaw()
    frozen.until_says("lost for")
    frozen.terminate()

    assert (final["status"], final["attempts"]) == ("completed", 2)
    assert own.database.execute(sa.select(jobs))[0] == before
    assert own.count(images) == 1
    final_events = sa.select(sa.func.count()).select_from(job_events).where(job_events.c.type == "job.completed")
    assert own.database.execute(final_events)[0][0] == 1


def test_a_hung_device_loses_its_lease_and_its_process(own: Stack) -> None:
    own.api()
    worker = own.worker("hung", SAFELIGHT_STALL_TIMEOUT="1")
    job = own.submit("[hang] for ever")
    own.until(job["id"], "job.requeued")

    assert worker.wait() == 70
    assert own.job(job["id"])["status"] == "queued"


def test_a_poison_job_is_given_up_and_its_companions_complete(own: Stack) -> None:
    own.api()
    own.sweep()
    jobs_ = [own.submit(prompt) for prompt in ("a cat", "[crash] the worker", "a dog")]

    # What a supervisor does: a new worker for each that dies. The first takes all three jobs down with it.
    for number in range(3):
        own.worker(f"worker{number}").wait()
    own.worker("survivor")

    cat, poison, dog = (own.final(job["id"]) for job in jobs_)
    assert (poison["status"], poison["error"]["code"]) == ("failed", "poison_job")
    assert [cat["status"], dog["status"]] == ["completed", "completed"]
    assert poison["attempts"] == 3
    assert max(cat["attempts"], dog["attempts"]) <= 2


def test_a_worker_that_gets_sigterm_finishes_its_job(own: Stack) -> None:
    own.api()
    worker = own.worker()
    job = own.submit(model="slow", steps=10)
    own.until(job["id"], "job.progress")

    assert worker.terminate() == 0

    final = own.job(job["id"])
    assert (final["status"], final["attempts"]) == ("completed", 1)


def test_a_worker_that_cannot_finish_in_time_gives_the_job_back_without_blame(own: Stack) -> None:
    own.api()
    worker = own.worker(SAFELIGHT_DRAIN_TIMEOUT="0.5")
    job = own.submit(model="slow", steps=1000)
    own.until(job["id"], "job.progress")

    assert worker.terminate() == 0

    back = own.job(job["id"])
    assert (back["status"], back["error"]) == ("queued", None)
    row = own.database.execute(sa.select(jobs.c.failures, jobs.c.crashes, jobs.c.not_before <= sa.func.now()))[0]
    assert tuple(row) == (0, 0, True)
    own.client.post(f"/v1/jobs/{job['id']}/cancel")


def test_a_job_longer_than_its_lease_is_kept_by_the_heartbeat(own: Stack) -> None:
    own.api()
    own.sweep()
    own.worker()
    job = own.submit(model="slow", steps=round(15 * own.settings.lease.total_seconds()))  # a step of 0.1 s: 1.5 leases

    final = own.final(job["id"])

    assert (final["status"], final["attempts"]) == ("completed", 1)


def test_an_attempt_that_takes_too_long_fails(own: Stack) -> None:
    own.api()
    own.worker(SAFELIGHT_ATTEMPT_TIMEOUT="2")
    job = own.submit(model="slow", steps=1000)

    assert own.final(job["id"])["error"]["code"] == "attempt_timeout"
