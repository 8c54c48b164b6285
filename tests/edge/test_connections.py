"""Clients that send nothing, half a request, or slowly, and clients that do not read: none of them stops the others."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import httpx
import psutil
import pytest

from tests.edge.wire import JOB, Answer, connect, exchange, read_answer, receive, request
from tests.processes import Process
from tests.stack import Stack, free_port
from tests.waiting import until

LIMIT = 20
SECONDS = {
    "SAFELIGHT_MAX_CONNECTIONS": str(LIMIT),
    "SAFELIGHT_HEADER_TIMEOUT": "1",
    "SAFELIGHT_BODY_TIMEOUT": "1",
    "SAFELIGHT_WRITE_TIMEOUT": "1",
    "SAFELIGHT_KEEP_ALIVE": "1",
    "SAFELIGHT_ROOT_PATH": "/art",
}
JSON = "Content-Type: application/json"
FORM = "Content-Type: multipart/form-data; boundary=x"
SUBMIT = request("POST", "/v1/jobs", JSON, body=JOB)


@pytest.fixture(scope="module")
def strict(safelight: Stack) -> Iterator[tuple[int, Process]]:
    """The port of an API with short deadlines and few connections."""
    port = free_port()
    with safelight.apart():
        yield port, safelight.api(port, **SECONDS)


@pytest.fixture
def sockets(strict: tuple[int, Process]) -> Iterator[Callable[[int, bytes], list[socket.socket]]]:
    """Opens connections that send bytes and then nothing."""
    port, process = strict
    with ExitStack() as exits:

        def open_all(count: int, data: bytes) -> list[socket.socket]:
            clients = [exits.enter_context(closing(connect(port))) for _ in range(count)]
            for client in clients:
                client.sendall(data)
            return clients

        yield open_all
    until(lambda: not connections_of(process, port))


def connections_of(process: Process, port: int) -> list[object]:
    """Its clients' connections."""
    server = psutil.Process(process.pid)
    return [
        entry
        for entry in server.net_connections("tcp4")
        if entry.status == psutil.CONN_ESTABLISHED and entry.laddr.port == port
    ]


def answer_to(port: int, data: bytes = SUBMIT) -> Answer:
    answer = exchange(port, data)
    assert answer is not None
    return answer


Open = Callable[[int, bytes], list[socket.socket]]


def test_a_silent_connection_is_closed(sockets: Open) -> None:
    assert {receive(client) for client in sockets(10, b"")} == {b""}


HALVES = (
    b"GET /healthz HT",
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ",
    SUBMIT[:-5],
    request("POST", "/v1/jobs", JSON, "Transfer-Encoding: chunked", body=b"5\r\n{"),
    request("POST", "/v1/files", FORM, "Content-Length: 99", body=b"--x"),
)


def test_half_a_request_is_refused_in_time(sockets: Open) -> None:
    for client in [client for data in HALVES for client in sockets(3, data)]:
        answer = read_answer(client)
        assert answer is not None
        assert (answer.status, answer.error["code"]) == (408, "request_too_slow")


def test_an_idle_connection_is_closed(sockets: Open) -> None:
    for client in sockets(3, request("GET", "/healthz")):
        assert read_answer(client) is not None
        assert receive(client) == b""


def test_empty_lines_keep_no_connection_open(sockets: Open) -> None:
    (client,) = sockets(1, request("GET", "/healthz"))
    assert read_answer(client) is not None
    client.sendall(b"\r\n")

    assert receive(client).startswith(b"HTTP/1.1 408")


def test_waiting_connections_make_room_for_new_ones(sockets: Open, strict: tuple[int, Process]) -> None:
    port, process = strict
    for data in (b"", b"GET / HTTP/1.1\r\nA: b", request("GET", "/healthz")):
        sockets(LIMIT * 4, data)
        assert answer_to(port).status == 202
        assert len(connections_of(process, port)) <= LIMIT + 32


def test_when_all_connections_are_in_use_health_is_answered(
    sockets: Open, strict: tuple[int, Process], safelight: Stack
) -> None:
    port, _ = strict
    job = safelight.submit(model="elsewhere")
    for client in sockets(LIMIT, request("GET", f"/v1/jobs/{job['id']}/events")):
        assert client.recv(5) == b"HTTP/"

    refusal = answer_to(port)
    health = [answer_to(port, request("GET", path)) for path in ("/healthz", "/readyz", "/art/healthz")]

    assert (refusal.status, refusal.error["code"], refusal.headers["retry-after"]) == (503, "too_many_connections", "1")
    assert [answer.status for answer in health] == [200, 200, 200]


def test_a_download_that_is_not_read_ends_and_takes_little_memory(
    sockets: Open, strict: tuple[int, Process], safelight: Stack
) -> None:
    port, process = strict
    size = 30_000_000
    file = httpx.post(
        f"{safelight.url}/v1/files", data={"purpose": "user_data"}, files={"file": ("a", bytes(size))}, timeout=60
    ).json()
    before = psutil.Process(process.pid).memory_info().rss

    clients = sockets(10, request("GET", f"/v1/files/{file['id']}/content"))

    assert [client.recv(5) for client in clients] == [b"HTTP/"] * 10
    until(lambda: not connections_of(process, port))
    assert psutil.Process(process.pid).memory_info().rss - before < 60_000_000
    for client in clients:
        received = 0
        while data := receive(client):
            received += len(data)
        assert received < size


def test_silent_connections_leave_file_descriptors(small_api: tuple[int, Process]) -> None:
    port, process = small_api
    process.until_says("this process may open too few files for max_connections=1000")
    with ExitStack() as exits:
        for _ in range(600):
            exits.enter_context(closing(connect(port)))

        assert answer_to(port).status == 202
        assert answer_to(port, request("GET", "/readyz")).status == 200
        assert psutil.Process(process.pid).num_fds() < 500
    assert "Traceback" not in process.output()
