"""Webhooks: how many are delivered a second, how soon, and whether receivers that hang delay one that does not.

    python -m bench.webhooks --rounds 5

The deliverers are real processes with the default settings; events are those of jobs that are cancelled. A delivery has
arrived when the receiver, a process of its own, has all of its request; both sides read the same machine's clock.
Quiet and hanging rounds alternate; in the latter as many more endpoints take connections and never answer.
"""

import argparse
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import httpx
import psycopg
from psycopg.rows import dict_row

from bench.directory import own_directory
from bench.service import until, until_answers
from bench.table import Line, at_least, at_most, quantile, render
from cli import database
from cli.environment import ROOT, server_environment
from cli.local import processes
from cli.local.child import Child
from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from cli.local.ports import free_port
from core import jobs, submits
from core.db import Database
from core.ids import new_id
from core.new_job import NewJob
from core.outbox import signing
from core.parameters.job import ResolvedParameters
from core.redis.progress import Progress
from core.settings import Settings
from core.tables import DEFAULT_PROJECT
from core.webhooks import endpoints as webhooks

PATIENCE = 120.0
BODY_BYTES = 1500  # about what an event has
WARM = 5
"""Events before those that count: the deliverer has connected and built its statements, and knows the endpoint."""

PARAMETERS = ResolvedParameters(size="64x64", steps=5, guidance_scale=5.0, seed=7)


class Post:
    """A database, receivers, and deliverers in between."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            self._start(exits)
            self._exits = exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _start(self, exits: ExitStack) -> None:
        postgres = exits.enter_context(EmbeddedPostgres(self.directory / "postgres"))
        valkey = exits.enter_context(EmbeddedValkey(self.directory / "valkey"))
        self.settings = Settings(
            data_dir=self.directory, database_url=postgres.url, redis_url=valkey.url, egress_allow="127.0.0.1"
        )
        self.progress = Progress(self.settings)
        database.upgrade(self.settings)
        self.connection = exits.enter_context(psycopg.connect(postgres.url, autocommit=True, row_factory=dict_row))
        self.database = Database(self.settings, name="bench")
        exits.callback(self.database.close)
        ports = free_port(), free_port()
        self.answering, self.hanging = (f"http://127.0.0.1:{port}" for port in ports)
        command = [sys.executable, "-m", "bench.receivers", *map(str, ports)]
        receivers = self._run(exits, "receivers", command)
        until_answers(receivers, f"{self.answering}/arrivals")

    def _run(self, exits: ExitStack, name: str, command: list[str]) -> Child:
        child = Child(
            name, command, log=self.directory / f"{name}.log", environment=self._environment(), directory=ROOT
        )
        exits.callback(child.stop)
        child.start()
        return child

    def _environment(self) -> Mapping[str, str]:
        outside = {name: value for name, value in server_environment(self.settings).items() if name not in os.environ}
        mine = {"SAFELIGHT_EGRESS_ALLOW": "127.0.0.1", "SAFELIGHT_LOG_LEVEL": "warning"}
        return os.environ | outside | mine

    @contextmanager
    def deliverers(self, count: int = 1) -> Iterator[None]:
        """Run so many delivery processes in the `with` block."""
        with ExitStack() as exits:
            for number in range(count):
                self._run(exits, f"deliver{number}", processes.deliver())
            yield
            self.get("release")  # or they would not end before what hangs does

    def clear(self) -> None:
        """Delete jobs, endpoints and arrivals, and close hanging connections."""
        self.get("release")
        self.connection.execute("TRUNCATE jobs, webhook_endpoints, webhook_deliveries, webhook_attempts CASCADE")
        self.get("arrivals")

    def endpoints(self, url: str, count: int) -> None:
        """Create endpoints for the events of cancelled jobs."""
        for number in range(count):
            statement = webhooks.create(DEFAULT_PROJECT, f"{number}", url, ["job.cancelled"], signing.new_secret())
            self.database.execute(statement)

    def submit(self, count: int) -> list[str]:
        """Jobs in a queue that no worker serves."""
        new_jobs = [a_job() for _ in range(count)]
        self.database.execute(submits.submit(*new_jobs))
        return [job.id for job in new_jobs]

    def cancel(self, job_id: str) -> None:
        """An event, with the message that the API sends after it."""
        self.database.execute(jobs.cancel(DEFAULT_PROJECT, job_id))
        self.progress.publish_changes([job_id])

    def query(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Query the database."""
        return self.connection.execute(statement, values).fetchall()

    def get(self, path: str) -> Any:
        """Send a request to the receiver process."""
        return json.loads(httpx.get(f"{self.answering}/{path}", timeout=60).raise_for_status().content)

    def arrivals(self, count: int) -> dict[str, float]:
        """When events first arrived, by their id, once as many have."""
        moments: dict[str, float] = {}

        def all_have() -> bool:
            for event_id, moment in self.get("arrivals"):
                moments.setdefault(event_id, moment)
            return len(moments) >= count

        until(all_have, PATIENCE, f"{count} events to arrive")
        return moments


def a_job() -> NewJob:
    """A request that the database takes."""
    return NewJob(
        id=new_id("job"), project_id=DEFAULT_PROJECT, operation="generation", model="unheard", prompt="a cat",
        n=1, parameters=PARAMETERS, queue="unheard", microbatch_key="unheard", microbatch_size=8, priority=0, cost=1.0,
        max_attempts=3, ttl=timedelta(hours=24),
    )  # fmt: skip


def deliver(post: Post, rounds: int, events: int) -> list[Line]:
    """Deliveries a second of what waits, from the first claim to the last record, beside a loop that posts as much."""
    kinds = {(1, 1): "1 endpoint", (8, 1): "8 endpoints", (8, 2): "8 endpoints, 2 processes"}
    lines = {
        kind: Line(f"deliveries to {name}", "1/s", "a loop: httpx, a connection each", at_least(0.5))
        for kind, name in kinds.items()
    }
    for _ in range(rounds):
        reference = bare_posts(post, events)
        for (endpoints, deliverers), line in lines.items():
            line.add(rate(post, events, endpoints, deliverers), reference)
    return list(lines.values())


def rate(post: Post, events: int, endpoints: int, deliverers: int) -> float:
    """Deliveries a second by the database's clock."""
    post.clear()
    post.endpoints(post.answering, endpoints)
    for job_id in post.submit(events // endpoints):
        post.cancel(job_id)
    with post.deliverers(deliverers):
        until(lambda: not post.query(PENDING), PATIENCE, "everything to be delivered")
    (row,) = post.query(RATE)
    if row["delivered"] != events // endpoints * endpoints:
        raise RuntimeError(f"{row['delivered']} of {events} were delivered")
    return float(row["delivered"] / row["seconds"])


PENDING = "SELECT 1 FROM webhook_deliveries WHERE status = 'pending' LIMIT 1"

RATE = """
    SELECT count(*) FILTER (WHERE status = 'delivered') AS delivered,
           extract(epoch FROM max(finished_at) - min(started_at)) AS seconds
    FROM webhook_deliveries JOIN webhook_attempts ON delivery_id = webhook_deliveries.id
"""


def bare_posts(post: Post, count: int) -> float:
    """Posts a second of one thread, a new connection each."""
    content = json.dumps({"data": "x" * BODY_BYTES}).encode()
    with httpx.Client(limits=httpx.Limits(max_keepalive_connections=0)) as client:
        began = time.perf_counter()
        for _ in range(count):
            client.post(post.answering, content=content).raise_for_status()
        return count / (time.perf_counter() - began)


def arrive(post: Post, rounds: int, events: int, hanging: int, pause: float) -> list[Line]:
    """Event to arrival at an endpoint that answers, while others hang and while none does."""
    alone = Line("event to arrival: p50", "ms", "one POST of httpx, mean", at_most(10, "ms"))
    lines = [
        Line(f"event to arrival, {hanging} others hang: {at}", "ms", f"the same, quiet: {at}", target)
        for at, target in (("p50", None), ("p95", at_most(1.1)))
    ]
    with post.deliverers():
        for _ in range(rounds):
            quiet = latencies(post, events, 0, pause)
            alone.add(quantile(quiet, 0.5) * 1000, 1000 / bare_posts(post, events))
            latencies_beside = latencies(post, events, hanging, pause)
            for line, share in zip(lines, (0.5, 0.95), strict=True):
                line.add(quantile(latencies_beside, share) * 1000, quantile(quiet, share) * 1000)
    return [alone, *lines]


def latencies(post: Post, events: int, hanging: int, pause: float) -> list[float]:
    """Seconds from event to arrival, of events at random moments, `pause` seconds apart in the mean."""
    post.clear()
    post.endpoints(post.answering, 1)
    post.endpoints(post.hanging, hanging)
    job_ids = post.submit(WARM + events)
    for job_id in job_ids[:WARM]:
        post.cancel(job_id)
    post.arrivals(WARM)
    due_at = time.perf_counter()
    for job_id in job_ids[WARM:]:
        due_at += random.expovariate(1 / pause)
        time.sleep(max(0.0, due_at - time.perf_counter()))  # the pace is what the round is made of
        post.cancel(job_id)
    moments = post.arrivals(events)
    created_events = post.query(
        "SELECT id, extract(epoch FROM created_at)::float8 AS at FROM job_events WHERE id = ANY(%s)", list(moments)
    )
    return [moments[event["id"]] - event["at"] for event in created_events]


def measure(
    directory: Path, parts: Sequence[str], *, rounds: int, deliveries: int, events: int, hanging: int, pause: float
) -> list[Line]:
    """Start a database and receivers in an empty directory and measure."""
    lines: list[Line] = []
    with Post(directory) as post:
        if "deliver" in parts:
            lines += deliver(post, rounds, deliveries)
        if "arrive" in parts:
            lines += arrive(post, rounds, events, hanging, pause)
    return lines


PARTS = ("deliver", "arrive")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--deliveries", type=int, default=800, help="deliveries, a round of each kind")
    parser.add_argument("--events", type=int, default=200, help="events to time, a round of each kind")
    parser.add_argument("--hanging", type=int, default=50, help="endpoints that never answer")
    parser.add_argument("--pause", type=float, default=0.1, help="mean seconds between two events")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    arguments = parser.parse_args()
    with own_directory() as directory:
        lines = measure(
            directory, arguments.only, rounds=arguments.rounds, deliveries=arguments.deliveries,
            events=arguments.events, hanging=arguments.hanging, pause=arguments.pause,
        )  # fmt: skip
    print(render(lines))


if __name__ == "__main__":
    main()
