"""Which workers run, as the API says it: `/readyz` for operators, a warning for the owner of a queued job."""

from datetime import timedelta

from core import tables, workers
from tests.stack import Stack, body
from tests.waiting import until


def test_a_queue_without_a_worker_is_said_until_one_comes(safelight: Stack) -> None:
    until(lambda: body(safelight.client.get("/readyz"))["queues"]["local"] == "ok")  # its worker has loaded its model
    readiness = body(safelight.client.get("/readyz"))
    job = safelight.submit(model="elsewhere")
    url = f"/v1/jobs/{job['id']}"

    def announce(seconds: float) -> None:
        length = timedelta(seconds=seconds)
        safelight.database.execute(workers.announce("test", ["other", "nobody"], is_ready=False, length=length))

    alone = safelight.client.get(url)
    announce(60)
    served = safelight.client.get(url, headers={"if-none-match": alone.headers["etag"]})
    loading = body(safelight.client.get("/readyz"))["queues"]
    announce(0)  # as if it had died a lease ago
    dead = body(safelight.client.get(url))
    safelight.database.execute(workers.withdraw("test"))
    safelight.client.post(f"{url}/cancel")

    assert (readiness["status"], readiness["queues"]) == ("degraded", {"local": "ok", "nobody": "no_worker"})
    assert [warning["code"] for warning in body(alone)["warnings"]] == ["no_worker"]
    assert (served.status_code, body(served)["warnings"]) == (200, [])
    assert loading == {"local": "ok", "nobody": "loading"}
    assert [warning["code"] for warning in dead["warnings"]] == ["no_worker"]
    assert body(safelight.client.get(url))["warnings"] == []  # cancelled
    assert safelight.count(tables.workers) == 1


def test_a_worker_that_stops_is_withdrawn_at_once(safelight: Stack) -> None:
    with safelight.apart():
        process = safelight.worker("guest", queue="nobody", concurrency=1)
        until(lambda: queue_state(safelight) == "ok")
        process.terminate()
    assert queue_state(safelight) == "no_worker"


def queue_state(safelight: Stack) -> str:
    return str(body(safelight.client.get("/readyz"))["queues"]["nobody"])
