"""A job's events, followed live."""

from tests.stack import Stack


def test_the_stream_has_every_event_and_step_and_ends_with_the_job(safelight: Stack) -> None:
    job = safelight.submit(model="slow", steps=10, n=2)

    happened = list(safelight.events(job["id"]))

    kinds = [kind for kind, _ in happened]
    assert [kind for kind in kinds if kind != "job.progress"] == ["job.queued", "job.started", "job.completed"]
    steps = [data["step"] for kind, data in happened if kind == "job.progress"]
    assert steps == sorted(set(steps))
    assert steps[-1] == 10
    final = happened[-1][1]["data"]["job"]
    assert final == safelight.job(job["id"])


def test_a_stream_goes_on_after_the_last_event_seen(safelight: Stack) -> None:
    job = safelight.final(safelight.submit()["id"])
    with safelight.client.stream("GET", f"/v1/jobs/{job['id']}/events") as answer:
        ids = [int(line.removeprefix("id: ")) for line in answer.iter_lines() if line.startswith("id: ")]

    assert len(ids) == 3
    assert ids == sorted(ids)
    assert [kind for kind, _ in safelight.events(job["id"], after=ids[1])] == ["job.completed"]
    at_the_end = safelight.client.get(f"/v1/jobs/{job['id']}/events", headers={"last-event-id": str(ids[2])})
    assert (at_the_end.status_code, at_the_end.content) == (204, b"")  # a browser's EventSource stops at a 204
    beyond = safelight.client.get(f"/v1/jobs/{job['id']}/events", headers={"last-event-id": "9" * 18})
    assert beyond.status_code == 204


def test_the_first_event_tells_when_to_reconnect(safelight: Stack) -> None:
    job = safelight.final(safelight.submit()["id"])

    blocks = safelight.client.get(f"/v1/jobs/{job['id']}/events").text.strip().split("\n\n")

    assert ["retry: 1000" in block for block in blocks] == [True, False, False]
    assert all("\ndata: " in block for block in blocks)


def test_progress_shows_in_the_job_while_it_is_in_progress(safelight: Stack) -> None:
    job = safelight.submit(model="slow", steps=30)
    safelight.until(job["id"], "job.progress")

    progress = safelight.job(job["id"])["progress"]

    assert progress["attempt"] == 1
    assert 0 <= progress["step"] <= progress["steps"] == 30
    safelight.client.post(f"/v1/jobs/{job['id']}/cancel")


def test_a_last_event_id_that_is_none_is_refused(safelight: Stack) -> None:
    job = safelight.submit()

    answer = safelight.client.get(f"/v1/jobs/{job['id']}/events", headers={"last-event-id": "x"})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "Last-Event-ID"
