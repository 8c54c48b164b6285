"""The cost of a long queue: claim, submit and read with 1,000,000 queued jobs. `python -m bench.queue_length`.

Two databases on one Postgres, one with a short and one with a long queue, are measured in turn in each round; the ratio
is long over short. The statements are the API's and the worker's own. Each claimed job is completed and replaced by a
new one, so that the length stays the same. Then many jobs go through the long queue, and it is measured again with the
dead rows and dead index entries that they leave.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa

from bench.directory import own_directory
from bench.table import Line, at_most, quantile, render
from cli import database
from cli.local.embedded import EmbeddedPostgres
from core import fairness, keys, leases, queries, submits
from core.db import Database
from core.ids import new_id
from core.new_job import NewJob
from core.parameters.job import ResolvedParameters
from core.settings import Settings

QUEUE = "local"
PROJECTS = 4
MICROBATCH_KEYS = 8
MICROBATCH = 8
SHALLOW, DEEP = "1,000 in line", "deep"

FILL = """
    INSERT INTO jobs (id, project_id, status, operation, model, prompt, n, size, steps, guidance_scale, seed,
                      output_format, queue, batch_key, microbatch, cost, fair_rank, expires_at, max_attempts,
                      batch_id, batch_index)
    SELECT :serial || lpad(number::text, 8, '0'), :project, 'queued', 'generation', 'fake',
           'a red fox sleeping in the snow', 1, '64x64', 5, 5.0, 7, 'png', :queue,
           :microbatch_key || number % :microbatch_keys, :microbatch_size, :cost, :start + number * :cost,
           now() + interval '1 day', 3,
           CAST(:batch_id AS text), CASE WHEN CAST(:batch_id AS text) IS NULL THEN NULL ELSE number END
    FROM generate_series(1, :count) AS number
"""
"""Jobs of one flow, ranked as if they had come one by one."""

PARAMETERS = ResolvedParameters(size="64x64", steps=5, guidance_scale=5.0, seed=7)


def fill(database: Database, project_id: str, count: int, *, batch: bool, **overrides: Any) -> None:
    """Insert many queued jobs of one project, quickly."""
    defaults = {
        "microbatch_key": "key ",
        "microbatch_keys": MICROBATCH_KEYS,
        "microbatch_size": MICROBATCH,
        "cost": 1.0,
    }
    (start,) = database.execute(fairness.select_start(QUEUE, project_id, 0, batch=batch))
    values = defaults | overrides | {"project": project_id, "count": count, "queue": QUEUE, "start": start}
    names = {"serial": new_id("job")[:22], "batch_id": new_id("batch") if batch else None}
    text_parameters = [sa.bindparam(name, value, type_=sa.Text) for name, value in names.items()]
    database.execute(sa.text(FILL).bindparams(*text_parameters, **values))


def a_job(project_id: str, number: int) -> NewJob:
    """An interactive job like those that `fill` makes."""
    return NewJob(
        id=new_id("job"), project_id=project_id, operation="generation", model="fake",
        prompt="a red fox sleeping in the snow", n=1, parameters=PARAMETERS, queue=QUEUE,
        microbatch_key=f"key {number % MICROBATCH_KEYS}",
        microbatch_size=MICROBATCH, priority=0, cost=1.0, max_attempts=3, ttl=timedelta(days=1),
    )  # fmt: skip


@dataclass(slots=True)
class LongQueue:
    """A database with a queue of a certain length: half of it batches, of four projects, in eight micro-batch keys."""

    database: Database
    depth: int
    projects: list[str] = field(default_factory=list)
    _claims: int = 0

    def fill(self) -> None:
        """Insert the jobs."""
        for number in range(PROJECTS):
            (project,) = self.database.execute(keys.add_project(f"{number}"))
            self.projects.append(project)
            for batch in (False, True):
                fill(self.database, project, self.depth // (2 * PROJECTS), batch=batch)
        self.database.execute(sa.text("VACUUM ANALYZE"))

    def claim(self) -> list[str]:
        """Claim as a worker does."""
        turn = fairness.is_fair_turn(self._claims)
        self._claims += 1
        rows = self.database.execute(
            leases.claim(
                QUEUE, uuid4(), "bench", length=timedelta(minutes=1), attempt_timeout=timedelta(hours=1), fair_turn=turn
            )
        )
        if not rows:
            raise RuntimeError("nothing was claimed")
        return [row.id for row in rows]

    def submit(self, count: int) -> list[NewJob]:
        """Submit so many jobs in one statement."""
        numbers = range(self._claims, self._claims + count)
        new_jobs = [a_job(self.projects[number % PROJECTS], number) for number in numbers]
        self.database.execute(submits.submit(*new_jobs))
        return new_jobs

    def first(self) -> sa.Row[Any]:
        """The first job of the queue."""
        return self.database.execute(sa.text(FIRST).bindparams(queue=QUEUE))[0]

    def read_job(self, job: NewJob | sa.Row[Any]) -> None:
        """Read a job and its queue position, as GET /v1/jobs/{id} does."""
        if not self.database.execute(queries.get_job(job.project_id, job.id)):
            raise RuntimeError(f"{job.id} is gone")

    def complete(self, job_ids: list[str]) -> None:
        """Complete jobs in one statement; a worker executes one for each job."""
        self.database.execute(sa.text(END).bindparams(ids=job_ids))

    def remove(self, new_jobs: list[NewJob]) -> None:
        """Delete jobs."""
        self.database.execute(
            sa.text("DELETE FROM jobs WHERE id = ANY(:ids)").bindparams(ids=[job.id for job in new_jobs])
        )

    def churn(self, count: int) -> None:
        """Claim and complete so many jobs, and submit as many new ones."""
        total = 0
        while total < count:
            job_ids = self.claim()
            self.complete(job_ids)
            self.submit(len(job_ids))
            total += len(job_ids)


END = """
    UPDATE jobs SET status = 'completed', finished_at = clock_timestamp(), lease = NULL, lease_expires_at = NULL,
                    attempt_deadline = NULL, worker = NULL, version = version + 1
    WHERE id = ANY(:ids)
"""

FIRST = """
    SELECT id, project_id FROM jobs WHERE queue = :queue AND status = 'queued'
    ORDER BY precedence, fair_rank, id LIMIT 1
"""

Seconds = dict[str, list[float]]
Result = TypeVar("Result")


def with_seconds(work: Callable[[], Result]) -> tuple[float, Result]:
    """The seconds that some work takes, and its result."""
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def measure_round(queue: LongQueue, claims: int) -> Seconds:
    """The seconds of each claim, submit and read of one round."""
    durations: Seconds = {name: [] for name in NAMES}
    for _ in range(claims):
        seconds, job_ids = with_seconds(queue.claim)
        durations["claim"].append(seconds)
        queue.complete(job_ids)
        seconds, newest = with_seconds(partial(queue.submit, 1))
        durations["submit"].append(seconds)
        if len(job_ids) > 1:
            queue.submit(len(job_ids) - 1)
        durations["last"].append(with_seconds(partial(queue.read_job, newest[0]))[0])
        durations["first"].append(with_seconds(partial(queue.read_job, queue.first()))[0])
    return durations


NAMES = {
    "claim": "claim",
    "submit": "submit one job",
    "last": "read a job far back with its place in line",
    "first": "read the first job with its place in line",
}
FIGURES = [*((name, share) for name in ("claim", "submit") for share in (0.5, 0.99)), ("last", 0.5), ("first", 0.5)]
TARGETS = {("claim", 0.99): at_most(50, "ms"), ("submit", 0.99): at_most(1.2)}


def measure(directory: Path, *, depth: int, rounds: int, claims: int, bulk: int, churn: int) -> list[Line]:
    """Create the two databases in an empty directory and measure them."""
    with EmbeddedPostgres(directory / "postgres") as postgres:
        shallow, deep = (
            _open(postgres.create_database(name), size) for name, size in (("shallow", 1000), ("deep", depth))
        )
        lines = _compare(shallow, deep, rounds, claims, bulk, f"{depth:,} in line")
        if churn:
            deep.churn(churn)
            lines += _compare(shallow, deep, rounds, claims, bulk, f"{depth:,}, {churn:,} jobs later")
        for queue in (shallow, deep):
            queue.database.close()
    return lines


def _open(url: str, depth: int) -> LongQueue:
    settings = Settings(database_url=url)
    database.upgrade(settings)
    queue = LongQueue(Database(settings, name="bench"), depth)
    queue.fill()
    return queue


def _compare(shallow: LongQueue, deep: LongQueue, rounds: int, claims: int, bulk: int, where: str) -> list[Line]:
    lines = [
        Line(f"{NAMES[name]}, {where}: p{share * 100:.0f}", "ms", "1,000 in line", TARGETS.get((name, share)))
        for name, share in FIGURES
    ]
    bulk_line = Line(f"submit {bulk:,} jobs in a statement, {where}", "ms", "1,000 in line")
    for queue in (shallow, deep):
        measure_round(queue, 20)  # statements are prepared after some executions
    for _ in range(rounds):
        of_shallow, of_deep = measure_round(shallow, claims), measure_round(deep, claims)
        for line, (name, share) in zip(lines, FIGURES, strict=True):
            line.add(quantile(of_deep[name], share) * 1000, quantile(of_shallow[name], share) * 1000)
        bulk_line.add(*(_submit_bulk(queue, bulk) * 1000 for queue in (deep, shallow)))
    return [*lines, bulk_line]


def _submit_bulk(queue: LongQueue, count: int) -> float:
    seconds, new_jobs = with_seconds(partial(queue.submit, count))
    queue.remove(new_jobs)
    return seconds


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--depth", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--claims", type=int, default=200, help="claims and submits, a round")
    parser.add_argument("--bulk", type=int, default=2000, help="jobs in one statement")
    parser.add_argument("--churn", type=int, default=100_000, help="jobs that go through the long queue; 0: none")
    arguments = parser.parse_args()
    with own_directory() as directory:
        lines = measure(
            directory,
            depth=arguments.depth,
            rounds=arguments.rounds,
            claims=arguments.claims,
            bulk=arguments.bulk,
            churn=arguments.churn,
        )
    print(render(lines))


if __name__ == "__main__":
    main()
