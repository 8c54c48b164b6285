"""Cancelling a job in any state."""

from tests.stack import Stack, body


def cancel(stack: Stack, job_id: str) -> str:
    answer = stack.client.post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 200, answer.text
    return str(body(answer)["status"])


def test_a_waiting_job_is_cancelled_at_once(safelight: Stack) -> None:
    job = safelight.submit(model="elsewhere")

    assert cancel(safelight, job["id"]) == "cancelled"

    kinds = [kind for kind, _ in safelight.events(job["id"])]
    assert kinds == ["job.queued", "job.cancelled"]


def test_a_job_is_cancelled_in_the_middle_of_its_drawing(safelight: Stack) -> None:
    job = safelight.submit(model="slow", steps=1000)
    safelight.until(job["id"], "job.progress")

    assert cancel(safelight, job["id"]) == "in_progress"

    final = safelight.final(job["id"])
    assert (final["status"], final["images"], final["error"]) == ("cancelled", [], None)
    kinds = [kind for kind, _ in safelight.events(job["id"])]
    assert kinds == ["job.queued", "job.started", "job.cancel_requested", "job.cancelled"]


def test_the_device_is_free_again_after_a_cancel(safelight: Stack) -> None:
    job = safelight.submit(model="slow", steps=1000)
    safelight.until(job["id"], "job.progress")
    cancel(safelight, job["id"])

    # The cancelled one would have held the device for another 100 seconds.
    assert safelight.job(safelight.submit(model="slow", steps=2)["id"], wait=40)["status"] == "completed"


def test_cancelling_a_final_job_changes_nothing(safelight: Stack) -> None:
    job = safelight.final(safelight.submit()["id"])

    assert cancel(safelight, job["id"]) == "completed"
    assert safelight.job(job["id"]) == job


def test_cancelling_one_job_of_a_micro_batch_leaves_its_companion(safelight: Stack) -> None:
    blocker = safelight.submit(model="slow", steps=4)
    safelight.until(blocker["id"], "job.started")
    doomed, companion = (safelight.submit(prompt, model="slow", steps=30) for prompt in ("doomed", "kept"))
    safelight.until(doomed["id"], "job.progress")

    cancel(safelight, doomed["id"])

    assert safelight.final(doomed["id"])["status"] == "cancelled"
    final = safelight.final(companion["id"])
    assert final["status"] == "completed"
    assert final["images"][0]["receipt"]["microbatch"] == 2


def test_cancelling_what_is_not_there_is_a_404(safelight: Stack) -> None:
    assert safelight.client.post("/v1/jobs/job_nothing/cancel").status_code == 404
