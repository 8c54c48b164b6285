"""Processor time of a request: an empty one, a submit, a read of a job. `python -m bench.processor_time`.

With `--beside`, another working tree's API is the reference, on the same servers. Its tables must be the same.

The kernel counts the time of a server's process before and after a fixed number of requests (psutil). On a busy machine
this says more than a rate, as the time in which others have the processor does not count.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.directory import own_directory
from bench.load import load
from bench.processor import seconds_of
from bench.service import Service, until_answers
from bench.submit_to_done import body
from bench.table import Line, render
from cli.local.ports import free_port


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is measured. server: the name of its process. content: None for GET."""

    server: str
    url: str
    content: str | None
    status: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of processor time a request: of its server, and of Postgres."""

    server: float
    postgres: float


class Meter:
    """Measures the cost of requests."""

    def __init__(self, service: Service, requests: int, connections: int) -> None:
        self._service = service
        self._requests = requests
        self._connections = connections

    def measure(self, call: Call) -> Cost:
        """Send a call many times."""
        server = [psutil.Process(self._service.pid(call.server))]
        postgres = self._postgres()
        before = seconds_of(server), seconds_of(postgres)
        load(call.url, call.content, connections=self._connections, requests=self._requests, expect=call.status)
        after = seconds_of(server), seconds_of(postgres)
        seconds = (end - start for start, end in zip(before, after, strict=True))
        return Cost(*(1000 * value / self._requests for value in seconds))

    def _postgres(self) -> Sequence[psutil.Process]:
        main = psutil.Process(self._service.database.info.backend_pid).parent()
        return [] if main is None else [main, *main.children()]


def new_id(service: Service, url: str) -> str:
    """Submit a job, or store a row, and return its id."""
    headers = {"content-type": "application/json"}
    response = service.client.post(url, content=body("unheard"), headers=headers).raise_for_status()
    return str(response.json()["id"])


def measure(service: Service, rounds: int, requests: int, connections: int) -> list[Line]:
    """The cost of each call beside that of its reference, in turn."""
    lines = [
        Line("empty request", "ms", "bare FastAPI, empty request"),
        Line("accepted job", "ms", "the API's empty request"),
        Line("", "ms", "bare FastAPI, one ORM row (SQLAlchemy)"),
        Line("read of a queued job", "ms", "the API's empty request"),
        Line("", "ms", "bare FastAPI, session.get"),
        Line("Postgres: accepted job", "ms", "one ORM row"),
        Line("Postgres: read of a queued job", "ms", "session.get"),
    ]
    meter = Meter(service, requests, connections)
    ours, reference = service.url, service.reference_url
    for warm in (True, *(False for _ in range(rounds))):
        service.clear()
        job, row = (new_id(service, url) for url in (f"{ours}/v1/jobs", f"{reference}/orm"))
        read = meter.measure(Call("api", f"{ours}/v1/jobs/{job}", None, 200))
        session_get = meter.measure(Call("references", f"{reference}/orm/{row}", None, 200))
        empty = meter.measure(Call("api", f"{ours}/healthz", None, 200))
        bare = meter.measure(Call("references", f"{reference}/healthz", None, 200))
        submit = meter.measure(Call("api", f"{ours}/v1/jobs", body("unheard"), 202))
        orm = meter.measure(Call("references", f"{reference}/orm", body("unheard"), 202))
        if warm:
            continue
        pairs = (
            (empty.server, bare.server),
            (submit.server, empty.server),
            (submit.server, orm.server),
            (read.server, empty.server),
            (read.server, session_get.server),
            (submit.postgres, orm.postgres),
            (read.postgres, session_get.postgres),
        )
        for line, pair in zip(lines, pairs, strict=True):
            line.add(*pair)
    return lines


def compare(service: Service, tree: Path, rounds: int, requests: int, connections: int) -> list[Line]:
    """The cost of each call beside that of the same call of another working tree's API, in turn."""
    port = free_port()
    command = [sys.executable, "-P", "-m", "api"]  # -P: modules of PYTHONPATH, not of the directory of this process
    other = service.run("other", command, {"SAFELIGHT_PORT": str(port), "PYTHONPATH": str(tree.resolve())})
    other_url = f"http://127.0.0.1:{port}"
    until_answers(other, f"{other_url}/healthz")
    meter = Meter(service, requests, connections)
    lines = [
        Line(name, "ms", f"API of {tree.name}") for name in ("empty request", "accepted job", "read of a queued job")
    ]
    for warm in (True, *(False for _ in range(rounds))):
        service.clear()
        job = new_id(service, f"{service.url}/v1/jobs")
        for line, (path, content, status) in zip(
            lines,
            (("/healthz", None, 200), ("/v1/jobs", body("unheard"), 202), (f"/v1/jobs/{job}", None, 200)),
            strict=True,
        ):
            ours, theirs = (
                meter.measure(Call(server, f"{url}{path}", content, status)).server
                for server, url in (("api", service.url), ("other", other_url))
            )
            if not warm:
                line.add(ours, theirs)
    return lines


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3000, help="of each kind, a round")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--beside", type=Path, help="another working tree, whose API is the reference")
    arguments = parser.parse_args()
    options = arguments.rounds, arguments.requests, arguments.connections
    with own_directory() as directory, Service(directory) as service:
        tree: Path | None = arguments.beside
        lines = measure(service, *options) if tree is None else compare(service, tree, *options)
    print(render(lines))


if __name__ == "__main__":
    main()
