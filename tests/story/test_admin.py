"""An operator sees the queues and workers, pauses a queue, and the audit log says so."""

import json
import os
import pty
import signal
import socket
import subprocess
from datetime import timedelta
from typing import Any

import httpx
import sqlalchemy as sa
from typer.testing import CliRunner

from api.queue_stats import PLAIN_REASON
from cli.main import app as command_line
from core import tables, workers
from core.scopes import Scope
from core.workers import WorkerDevice
from tests.factories import a_key
from tests.processes import python
from tests.stack import Stack, body
from tests.waiting import PATIENCE, until


def client_of(stack: Stack, *scopes: Scope) -> httpx.Client:
    headers = {"authorization": f"Bearer {a_key(stack.database, scopes=scopes)}"}
    return httpx.Client(base_url=stack.url, headers=headers, timeout=PATIENCE)


def test_an_operator_pauses_and_resumes_a_queue(guarded: Stack) -> None:
    def local(operator: httpx.Client) -> str:
        page = body(operator.get("/v1/admin/queues"))["data"]
        return next(str(queue["state"]) for queue in page if queue["name"] == "local")

    with client_of(guarded, Scope.ADMIN) as operator, client_of(guarded, Scope.READ) as guest:
        assert guest.get("/v1/admin/queues").status_code == 403
        assert guest.post("/v1/admin/queues/local/pause").status_code == 403
        assert operator.post("/v1/admin/queues/elsewhere/pause").status_code == 404

        try:
            assert body(operator.post("/v1/admin/queues/local/drain"))["state"] == "draining"
            assert local(operator) in ("draining", "drained")
        finally:
            operator.post("/v1/admin/queues/local/resume")
        assert local(operator) == "running"

        log = body(operator.get("/v1/organization/audit_logs", params={"limit": 10}))["data"]
        begun = next(event for event in log if event["type"] == "pause.begun")
        assert begun["pause.begun"] == {"id": "local", "data": {"subject": "queue", "state": "draining"}}
        assert not any(event.get("admin.called", {}).get("data", {}).get("path") == "/v1/admin/queues" for event in log)


def test_the_command_pauses_and_resumes_a_queue(guarded: Stack) -> None:
    def admin(*arguments: str) -> str:
        result = CliRunner().invoke(command_line, ["admin", *arguments], env=guarded.environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "is paused" in admin("pause", "queue", "local", "--yes")
    assert json.loads(admin("queues", "--json").splitlines()[0])["state"] == "paused"
    assert "STATE" in admin("queues")
    assert "WORKER" in admin("workers")
    assert "is resumed" in admin("resume", "queue", "local")


def test_a_worker_reports_its_device_and_the_microbatch_in_hand(guarded: Stack) -> None:
    def worker() -> dict[str, Any]:
        (report,) = body(operator.get("/v1/admin/workers"))["data"]
        return dict(report)

    with client_of(guarded, Scope.ADMIN) as operator, client_of(guarded, Scope.SUBMIT) as guest:
        until(lambda: worker()["loaded_models"])
        job = body(guest.post("/v1/jobs", json={"prompt": "a cat", "model": "slow", "size": "64x64", "steps": 1000}))
        until(lambda: worker()["microbatches"])
        report = worker()
        guest.post(f"/v1/jobs/{job['id']}/cancel")

    (microbatch,) = report["microbatches"]
    assert (report["device"], report["is_idle"]) == ("cpu", False)
    assert "fake" in report["loaded_models"]
    assert (microbatch["job_ids"], microbatch["model"]) == ([job["id"]], "slow")
    assert microbatch["started_at"] < microbatch["lease_expires_at"]
    assert report["last_heartbeat_at"] <= report["valid_until"]
    assert report["resident_bytes"] > 10_000_000


def test_an_operator_reads_what_went_wrong(guarded: Stack) -> None:
    with client_of(guarded, Scope.ADMIN) as operator, client_of(guarded, Scope.SUBMIT) as guest:
        job = body(guest.post("/v1/jobs", json={"prompt": "a cat [refuse]", "size": "64x64"}))
        until(lambda: body(operator.get("/v1/admin/slow_jobs", params={"limit": 100}))["data"])

        def failed() -> list[dict[str, Any]]:
            answer = body(operator.get("/v1/admin/failures", params={"bucket_width": "1d"}))
            assert answer["is_complete"]
            return [row for row in answer["data"] if row["model"] == "fake"]

        until(failed)
        assert failed()[0]["start_time"] < failed()[0]["end_time"]
        slow = body(operator.get("/v1/admin/slow_jobs", params={"by": "total", "limit": 100}))["data"]
        assert next(row for row in slow if row["id"] == job["id"])["status"] == "failed"
        for path in ("crashed_jobs", "dead_deliveries", "storage"):
            answer = operator.get(f"/v1/admin/{path}")
            assert (answer.status_code, body(answer)["object"]) == (200, "list")
        for path in ("failures", "slow_jobs", "crashed_jobs", "dead_deliveries", "storage"):
            assert guest.get(f"/v1/admin/{path}").status_code == 403

        refused = operator.get("/v1/admin/failures", params={"start_time": 0, "bucket_width": "1m"})
        assert (refused.status_code, body(refused)["error"]["param"]) == (400, "bucket_width")
        assert operator.get("/v1/admin/failures", params={"bucket_width": "1m"}).status_code == 200
        refused = operator.get("/v1/admin/failures", params={"start_time": 7200, "end_time": 7200})
        assert (refused.status_code, body(refused)["error"]["param"]) == (400, "start_time")


def test_the_commands_print_the_reports(guarded: Stack) -> None:
    headers = {
        ("failures",): "CODE",
        ("slow", "--by", "wait"): "TOTAL",
        ("crashed",): "CRASHES",
        ("deliveries",): "EVENT",
        ("deliveries", "--by-destination"): "DEAD",
        ("storage",): "IMAGES",
    }
    for arguments, header in headers.items():
        result = CliRunner().invoke(command_line, ["admin", *arguments], env=guarded.environment)
        assert (result.exit_code, header in result.stdout) == (0, True), result.output
        result = CliRunner().invoke(command_line, ["admin", *arguments, "--json"], env=guarded.environment)
        assert all(isinstance(json.loads(line), dict) for line in result.stdout.splitlines())


def test_an_operator_retries_and_cancels_by_filter(guarded: Stack) -> None:
    def step(action: str, **request: Any) -> dict[str, Any]:
        answer = operator.post(f"/v1/admin/jobs/{action}", json=request)
        assert answer.status_code == 200, answer.text
        return body(answer)

    with client_of(guarded, Scope.ADMIN) as operator, client_of(guarded, Scope.SUBMIT) as guest:
        request = {"prompt": "a cat [refuse]", "size": "64x64", "metadata": {"run": "bulk"}}
        job = body(guest.post("/v1/jobs", json=request))
        selection = {"metadata": {"run": "bulk"}, "model": "fake"}
        until(lambda: step("retry", filter=selection)["jobs"])
        count = step("retry", filter=selection)
        changed = step("retry", token=count["token"])
        assert (count["jobs"], count["is_exact"]) == (1, True)
        assert (changed["jobs"], changed["skipped_jobs"], changed["token"]) == (1, {}, None)
        until(lambda: step("retry", filter=selection)["jobs"] == 1)  # the repetition has failed, too

        waiting = {"prompt": "a cat", "model": "elsewhere", "size": "64x64", "metadata": {"run": "bulk"}}
        ids = [body(guest.post("/v1/jobs", json=waiting))["id"] for _ in range(2)]
        result = CliRunner().invoke(
            command_line, ["admin", "cancel", "--queue", "nobody", "--metadata", "run=bulk"],
            env=guarded.environment, input="y\n",
        )  # fmt: skip
        assert (result.exit_code, "2 jobs match" in result.stdout) == (0, True), result.output
        result = CliRunner().invoke(
            command_line, ["admin", "retry", "--status", "cancelled", "--metadata", "run=bulk", "--yes"],
            env=guarded.environment,
        )  # fmt: skip
        assert (result.exit_code, "2 jobs submitted again" in result.stdout) == (0, True), result.output
        assert step("cancel", token=step("cancel", filter={"queue": "nobody"})["token"])["jobs"] == 2

        log = body(operator.get("/v1/organization/audit_logs", params={"limit": 100}))["data"]
        (retried,) = [event for event in log if event["type"] == "jobs.retried" and event["actor"]["type"] == "api_key"]
        assert retried["jobs.retried"]["data"] == {"jobs": 1, "filter": selection}
        assert len(ids) == 2
        assert job["id"].startswith("job_")
        refusals: list[tuple[dict[str, Any], str]] = [
            ({}, "body"), ({"filter": {"status": ["failed"]}}, "filter.status"), ({"token": "x"}, "token"),
        ]  # fmt: skip
        for wrong_request, param in refusals:
            refused = operator.post("/v1/admin/jobs/cancel", json=wrong_request)
            assert (refused.status_code, body(refused)["error"]["param"]) == (400, param)
        assert guest.post("/v1/admin/jobs/cancel", json={"filter": {}}).status_code == 403


def test_a_queue_that_drains_accepts_no_job_and_works_off_the_others(guarded: Stack) -> None:
    def state() -> str:
        page = body(operator.get("/v1/admin/queues"))["data"]
        return next(str(queue["state"]) for queue in page if queue["name"] == "local")

    request = {"prompt": "a cat", "model": "slow", "size": "64x64", "steps": 20}
    with client_of(guarded, Scope.ADMIN) as operator, client_of(guarded, Scope.SUBMIT) as guest:
        jobs = [body(guest.post("/v1/jobs", json=request)) for _ in range(2)]
        cancelled = body(guest.post("/v1/jobs", json=request))["id"]
        until(lambda: body(guest.post(f"/v1/jobs/{cancelled}/cancel"))["status"] == "cancelled")
        repetition = body(guest.post(f"/v1/jobs/{cancelled}/retry"))["id"]
        guest.post(f"/v1/jobs/{repetition}/cancel")
        try:
            operator.post("/v1/admin/queues/local/drain")
            until(lambda: guest.post("/v1/jobs", json=request).status_code == 503)
            refusals = [
                guest.post("/v1/jobs", json=request, headers={"idempotency-key": "drain"}),
                guest.post("/v1/batches", json={"prompts": ["a cat"], "endpoint": "/v1/jobs"}),
                guest.post("/v1/images/generations", json={"prompt": "a cat", "size": "64x64"}),
            ]
            second = guest.post(f"/v1/jobs/{cancelled}/retry")
            readiness = body(operator.get("/readyz"))
            until(lambda: state() == "drained")
            result = CliRunner().invoke(command_line, ["admin", "queues", "--json"], env=guarded.environment)
            statuses = {guarded.database.execute(job_status(job["id"]))[0][0] for job in jobs}
        finally:
            operator.post("/v1/admin/queues/local/resume")

    assert [answer.status_code for answer in refusals] == [503, 503, 503], refusals[1].text
    assert {body(answer)["error"]["code"] for answer in refusals} == {"queue_draining"}
    assert (second.status_code, body(second)["id"]) == (202, repetition)
    assert "drained" in {json.loads(line)["state"] for line in result.stdout.splitlines()}
    assert (readiness["status"], readiness["queues"]["local"]) == ("degraded", "draining")
    assert statuses == {"completed"}


def test_a_worker_that_drains_frees_its_device_and_leaves_its_queue(guarded: Stack) -> None:
    host = socket.gethostname()

    def worker() -> dict[str, Any]:
        (report,) = body(operator.get("/v1/admin/workers"))["data"]
        return dict(report)

    with client_of(guarded, Scope.ADMIN) as operator, client_of(guarded, Scope.SUBMIT) as guest:
        until(lambda: worker()["loaded_models"])
        try:
            operator.post(f"/v1/admin/workers/{host}/drain")
            until(lambda: not worker()["loaded_models"])
            report, readiness = worker(), body(operator.get("/readyz"))
            operator.post(f"/v1/admin/workers/{report['name']}/pause")
            result = CliRunner().invoke(command_line, ["admin", "workers", "--json"], env=guarded.environment)
            left = body(operator.post(f"/v1/admin/workers/{report['name']}/resume"))
            job = body(guest.post("/v1/jobs", json={"prompt": "a cat", "size": "64x64"}))
        finally:
            operator.post(f"/v1/admin/workers/{host}/resume")
        until(lambda: guarded.database.execute(job_status(job["id"]))[0][0] == "completed")
        until(lambda: worker()["loaded_models"])

    assert (report["state"], report["is_idle"]) == ("drained", True)
    assert (json.loads(result.stdout)["state"], left["state"]) == ("drained", "drained")
    assert readiness["queues"]["local"] == "no_worker"
    guarded.process("worker").until_says("Canceling queue local")
    guarded.process("worker").until_says("Started consuming from local")


def test_top_prints_a_frame_without_a_terminal(guarded: Stack) -> None:
    host = socket.gethostname()

    def lines(*arguments: str) -> list[str]:
        result = CliRunner().invoke(command_line, ["top", *arguments], env=guarded.environment)
        assert result.exit_code == 0, result.output
        return result.stdout.splitlines()

    until(lambda: any(line.startswith(f"{host}:") and "cpu" in line for line in lines()))
    assert "1 workers" in lines("--once")[0]


def test_top_shows_frames_in_a_terminal_until_it_is_interrupted(guarded: Stack) -> None:
    controller, terminal = pty.openpty()
    process = subprocess.Popen(
        python("-m", "cli.main", "top", "--interval", "0.5"), stdin=terminal, stdout=terminal, stderr=terminal,
        env={**os.environ, **guarded.environment, "TERM": "xterm", "COLUMNS": "160"},
    )  # fmt: skip
    os.close(terminal)
    output = b""
    while output.count(b"workers") < 2:
        output += os.read(controller, 65_536)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 0
    os.close(controller)


def job_status(job_id: str) -> sa.Select[Any]:
    return sa.select(tables.jobs.c.status).where(tables.jobs.c.id == job_id)


def test_only_operators_read_why_a_worker_cannot_load_a_model(guarded: Stack) -> None:
    device = WorkerDevice(models={"elsewhere": {"state": "unusable", "reason": "There is no folder /srv/secret."}})
    guarded.database.execute(
        workers.announce("a worker", ["nobody"], is_ready=True, length=timedelta(minutes=1), device=device)
    )

    def readiness(*scopes: Scope) -> dict[str, Any]:
        with client_of(guarded, *scopes) as client:
            (listed,) = [model for model in body(client.get("/v1/models"))["data"] if model["id"] == "elsewhere"]
            own = body(client.get("/v1/models/elsewhere"))
        assert listed["readiness"] == own["readiness"]
        return dict(own["readiness"])

    until(lambda: readiness(Scope.READ)["state"] == "unusable")
    guarded.database.execute(workers.withdraw("a worker"))

    assert readiness(Scope.READ)["reason"] == PLAIN_REASON
    assert readiness(Scope.READ, Scope.ADMIN)["reason"] == "There is no folder /srv/secret."
