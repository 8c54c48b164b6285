"""Processor time of a job in a worker and in Postgres, by the images of a claim. `python -m bench.worker_time`.

The worker's own code runs jobs of the generator that does nothing, one micro-batch after the other, in this process.
The kernel counts the time, which says more than a rate on a busy machine. For another working tree's figures:
`PYTHONPATH=OTHER_TREE python bench/worker_time.py`.
"""

import argparse
import time
from datetime import timedelta
from pathlib import Path

import psutil
import psycopg

from bench.directory import own_directory
from bench.service import CATALOG
from bench.table import Line, render
from cli import database
from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from core import submits
from core.ids import new_id
from core.new_job import NewJob
from core.parameters.job import ResolvedParameters
from core.settings import Settings
from core.tables import DEFAULT_PROJECT
from worker.generation import microbatch
from worker.generation.context import Context
from worker.moderation.moderator import Moderator

KEY = "bench"
SIZES = (8, 64)
"""Images of a claim: the size of a pass, and that of a micro-batch with several passes."""

STATEMENT_JOBS = 64
"""Jobs that a statement submits."""


def a_job(number: int) -> NewJob:
    """A job of the generator that does nothing."""
    return NewJob(
        id=new_id("job"), project_id=DEFAULT_PROJECT, operation="generation", model="fake", prompt=f"a fox, {number}",
        n=1, parameters=ResolvedParameters(size="64x64", steps=4, guidance_scale=5.0, seed=number), queue="local",
        microbatch_key=KEY, microbatch_size=8, priority=0, cost=0.001, max_attempts=3, ttl=timedelta(hours=1),
    )  # fmt: skip


class Postgres:
    """The embedded Postgres with all its processes."""

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as connection:
            parent = psutil.Process(connection.info.backend_pid).parent()
        if parent is None:
            raise RuntimeError("Postgres has ended")
        self._main = parent

    def seconds(self) -> float:
        """The processor time of its processes, also of those that have ended."""
        main_times = self._main.cpu_times()
        times = [process.cpu_times() for process in self._main.children() if process.is_running()]
        return sum(time.user + time.system for time in times) + main_times.children_user + main_times.children_system


def run_jobs(context: Context, postgres: Postgres, count: int, size: int) -> tuple[float, float]:
    """Milliseconds a job, of this process and of Postgres, with claims of so many images."""
    context.limits.record(KEY, size)
    for start in range(0, count, STATEMENT_JOBS):
        context.database.execute(submits.submit(*(a_job(start + number) for number in range(STATEMENT_JOBS))))
    of_worker, of_postgres = time.process_time(), postgres.seconds()
    while microbatch.run(context, "local", must_notify=False):
        pass
    of_worker, of_postgres = time.process_time() - of_worker, postgres.seconds() - of_postgres
    return 1000 * of_worker / count, 1000 * of_postgres / count


def measure(directory: Path, rounds: int, count: int) -> list[Line]:
    """Start the servers in an empty directory and measure."""
    lines = [
        Line(f"{of}: a job in claims of {SIZES[1]}", "ms", f"in claims of {SIZES[0]}") for of in ("worker", "Postgres")
    ]
    with EmbeddedPostgres(directory / "postgres") as server, EmbeddedValkey(directory / "valkey") as valkey:
        catalog = directory / "catalog.toml"
        catalog.write_text(CATALOG)
        settings = Settings(data_dir=directory, catalog=catalog, database_url=server.url, redis_url=valkey.url)
        database.upgrade(settings)
        context, postgres = Context.open(settings, Moderator.open(settings)), Postgres(server.url)
        for is_warm in (False, *(True for _ in range(rounds))):
            small, large = (run_jobs(context, postgres, count, size) for size in SIZES)
            if is_warm:
                for line, ours, theirs in zip(lines, large, small, strict=True):
                    line.add(ours, theirs)
        context.database.close()
    return lines


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1024, help=f"a round; a multiple of {STATEMENT_JOBS}")
    arguments = parser.parse_args()
    with own_directory() as directory:
        print(render(measure(directory, arguments.rounds, arguments.jobs)))


if __name__ == "__main__":
    main()
