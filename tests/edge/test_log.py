"""What a stranger sends costs at most a short line of the log, and never a line of its own making."""

import pytest
import redis

from api.edge.refusals import Refusals
from core.redis.connection import KEY_PREFIX
from tests.edge.wire import JOB, connect, exchange, read_answer, request
from tests.processes import Process
from tests.stack import Stack
from tests.waiting import until


def lines_of(process: Process) -> list[str]:
    return process.output().splitlines()


def test_a_client_that_breaks_off_writes_no_line(small_api: tuple[int, Process]) -> None:
    port, process = small_api
    before = len(lines_of(process))
    form = "Content-Type: multipart/form-data; boundary=x"
    for path, line in (("/v1/jobs", "Content-Type: application/json"), ("/v1/files", form), ("/v1/images/edits", form)):
        for _ in range(5):
            with connect(port) as client:
                client.sendall(request("POST", path, line, "Content-Length: 100", "Expect: 100-continue"))
                assert client.recv(100).startswith(b"HTTP/1.1 100")  # a route reads the body
                client.sendall(b"--x\r\n")
    answer = exchange(port, request("GET", "/healthz"))

    assert answer is not None
    assert lines_of(process)[before:] == []


def test_a_client_that_breaks_off_after_two_requests_ends_the_first(
    small_api: tuple[int, Process], safelight: Stack
) -> None:
    port, process = small_api
    before = len(lines_of(process))
    job_id = safelight.submit(model="elsewhere")["id"]
    channel = f"{KEY_PREFIX}job:{job_id}"
    with redis.Redis.from_url(safelight.settings.redis_url or "") as server:

        def watchers() -> int:
            ((_, count),) = server.pubsub_numsub(channel)
            return int(count)

        with connect(port) as client:
            client.sendall(request("GET", f"/v1/jobs/{job_id}/events") + request("GET", "/healthz"))
            assert client.recv(5) == b"HTTP/"
            until(watchers)
        until(lambda: not watchers())
    answer = exchange(port, request("GET", "/healthz"))

    assert answer is not None
    assert lines_of(process)[before:] == []


def test_a_thousand_malformed_requests_write_a_line(small_api: tuple[int, Process]) -> None:
    port, process = small_api
    before = len(lines_of(process))
    for _ in range(1000):
        with connect(port) as client:
            client.sendall(b"x\r\n\r\n")
            assert read_answer(client) is not None

    until(lambda: any("refused (malformed_request)" in line for line in lines_of(process)[before:]))
    lines = lines_of(process)[before:]
    assert len(lines) <= 5, lines
    assert all(len(line) < 400 for line in lines)


def test_no_request_writes_a_line_of_its_own(small_api: tuple[int, Process]) -> None:
    port, process = small_api
    before = len(lines_of(process))
    forged = "2026-01-01 ERROR forged: everything is lost"

    answer = exchange(port, request("POST", f"/v1/%0A{forged.replace(' ', '%20')}", "Origin: http://x", body=JOB))

    assert answer is not None
    assert answer.status == 403
    until(lambda: any("cross_site" in line for line in lines_of(process)[before:]))
    assert not any(line.startswith(forged[:10] + " ERROR") for line in lines_of(process)[before:])
    assert "\\n2026-01-01 ERROR forged" in process.output()


def test_a_log_counts_what_it_leaves_out(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    refusals = Refusals(lambda: now)

    for _ in range(500):
        refusals.record("kind", "%s", "x" * 1000)
    now = 11.0
    refusals.record("kind", "again")

    first, second = caplog.messages
    assert len(first) < 400
    assert second == "refused (kind): again; 499 more since the last line"
