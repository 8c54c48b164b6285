"""Attacks on the HTTP edge, each held for some seconds while another client submits jobs: `(stack) -> Measurements`."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import repeat

import psutil

from bench.table import quantile
from tests.edge.wire import JOB, connect, exchange, request
from tests.processes import Process
from tests.stack import Stack

HOLD_SECONDS = 20.0
CONNECTIONS = 600
IDLE_SUBMITS = 100
PAUSE_SECONDS = 0.02
"""Between two submits of the other client."""

JSON = "Content-Type: application/json"
SUBMIT = request("POST", "/v1/jobs", JSON, body=JOB)


@dataclass(frozen=True, slots=True)
class Measurements:
    """What another client and the process saw during an attack. Times in seconds, memory in bytes.

    idle_p95: of submits before the attack. log_bytes: without the lines about submitted jobs.
    """

    submits: int
    failures: int
    idle_p95: float
    p95: float
    health_maximum: float
    memory_growth: int
    file_descriptors: int
    log_bytes: int

    @property
    def ratio(self) -> float:
        """How many times as long the other client waits."""
        return self.p95 / self.idle_p95


Attack = Callable[[int], None]
"""Attacks a port for `HOLD_SECONDS`."""


def silent(port: int) -> None:
    """Connections that send nothing."""
    _hold(port, b"")


def half_sent(port: int) -> None:
    """Requests without an end."""
    _hold(port, SUBMIT[:-5])


def slow_bodies(port: int) -> None:
    """Bodies that arrive byte by byte."""
    start = request("POST", "/v1/jobs", JSON, "Content-Length: 900000")
    with _connections(port, start) as clients:
        end = time.monotonic() + HOLD_SECONDS
        while time.monotonic() < end:
            for client in clients:
                with suppress(OSError):
                    client.send(b" ")
            time.sleep(0.5)


def endless_header(port: int) -> None:
    """One header of 90 MB."""
    _send(port, b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ", b"b" * 1_000_000, 90)


def endless_headers(port: int) -> None:
    """Five million headers."""
    _send(port, b"GET / HTTP/1.1\r\nHost: x\r\n", b"A: b\r\n" * 50_000, 100)


def endless_targets(port: int) -> None:
    """A target of 90 MB."""
    _send(port, b"GET /", b"b" * 1_000_000, 90)


def unread_responses(port: int) -> None:
    """Clients that ask for large pages again and again and never read."""
    _hold(port, request("GET", "/openapi.json") * 4)


def reconnects(port: int) -> None:
    """As many new connections as one client can make, each with a malformed request."""
    end = time.monotonic() + HOLD_SECONDS
    while time.monotonic() < end:
        with suppress(OSError), closing(connect(port)) as client:
            client.sendall(b"x\r\n\r\n")


ATTACKS: tuple[Attack, ...] = (
    silent,
    half_sent,
    slow_bodies,
    endless_header,
    endless_headers,
    endless_targets,
    unread_responses,
    reconnects,
)


def measure(stack: Stack, process: Process, attack: Attack) -> Measurements:
    """Hold an attack on a running API, and submit jobs as another client."""
    server = psutil.Process(process.pid)
    idle = [_clocked(stack.port, SUBMIT, 202)[0] for _ in range(IDLE_SUBMITS)]
    memory, log_bytes = server.memory_info().rss, _log_bytes(process)
    attacker = threading.Thread(target=attack, args=[stack.port])
    submits: list[float] = []
    health: list[float] = []
    failures = growth = descriptors = 0
    attacker.start()
    while attacker.is_alive():
        seconds, is_accepted = _clocked(stack.port, SUBMIT, 202)
        submits.append(seconds)
        failures += not is_accepted
        seconds, is_healthy = _clocked(stack.port, request("GET", "/healthz"), 200)
        health.append(seconds)
        failures += not is_healthy
        growth = max(growth, server.memory_info().rss - memory)
        descriptors = max(descriptors, server.num_fds())
        time.sleep(PAUSE_SECONDS)
    attacker.join()
    return Measurements(
        submits=len(submits),
        failures=failures,
        idle_p95=quantile(idle, 0.95),
        p95=quantile(submits, 0.95),
        health_maximum=max(health),
        memory_growth=growth,
        file_descriptors=descriptors,
        log_bytes=_log_bytes(process) - log_bytes,
    )


def _log_bytes(process: Process) -> int:
    return sum(len(line) for line in process.output().splitlines() if " is queued" not in line)


def _clocked(port: int, data: bytes, status: int) -> tuple[float, bool]:
    start = time.monotonic()
    answer = exchange(port, data)
    return time.monotonic() - start, answer is not None and answer.status == status


@contextmanager
def _connections(port: int, data: bytes) -> Iterator[list[socket.socket]]:
    with ExitStack() as exits:
        clients = []
        for _ in repeat(None, CONNECTIONS):
            with suppress(OSError):
                client = exits.enter_context(closing(connect(port)))
                client.sendall(data)
                clients.append(client)
        yield clients


def _hold(port: int, data: bytes) -> None:
    with _connections(port, data):
        time.sleep(HOLD_SECONDS)


def _send(port: int, start: bytes, part: bytes, count: int) -> None:
    """Send a start and then parts, as long as the server takes them; again until the time is over."""
    end = time.monotonic() + HOLD_SECONDS
    while time.monotonic() < end:
        with suppress(OSError), closing(connect(port)) as client:
            client.sendall(start)
            for _ in repeat(None, count):
                client.sendall(part)
