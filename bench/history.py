"""What many finished jobs cost the queue: claim and submit beside thousands and millions. `python -m bench.history`.

Two databases on one Postgres have the same short queue, and a short or a long history: finished jobs, each with three
events and an image. Both are measured in turn, first at rest, then while retention deletes from the long history, in
the steps of the sweep. The ratio is long over short. The pages that Postgres reads, from its cache or the disk, do not
depend on what else the machine does.
"""

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import sqlalchemy as sa

from bench.directory import own_directory
from bench.queue_length import FIGURES, NAMES, LongQueue, measure_round
from bench.table import Line, at_most, quantile, render
from cli import database
from cli.local.embedded import EmbeddedPostgres
from core import retention
from core.db import Database
from core.settings import Settings

DEPTH = 1000
SHORT = 10_000
PART = 100_000
"""Finished jobs inserted in one statement."""

CHUNK = 500
"""Jobs that retention deletes in one statement, as in the sweep."""

RETENTION = timedelta(days=30)

FILL = (
    """
    INSERT INTO jobs (id, project_id, status, operation, model, prompt, n, size, steps, guidance_scale, seed,
                      output_format, queue, batch_key, microbatch, cost, fair_rank, expires_at, max_attempts,
                      created_at, started_at, finished_at, attempts, version)
    SELECT 'job_0' || lpad(number::text, 25, '0'), %(project)s, 'completed', 'generation', 'fake',
           'a red fox sleeping in the snow', 1, '64x64', 5, 5.0, 7, 'png', 'local', 'key', 8, 1.0, 0,
           moment + interval '1 day', 3, moment, moment, moment, 1, 3
    FROM (SELECT number, now() - interval '31 days' * (1 - number / CAST(%(total)s AS float8)) AS moment
          FROM generate_series(CAST(%(start)s AS bigint), CAST(%(stop)s AS bigint)) AS number) AS numbers
    """,
    """
    INSERT INTO job_events (job_id, type, created_at)
    SELECT 'job_0' || lpad(number::text, 25, '0'), type, now()
    FROM generate_series(CAST(%(start)s AS bigint), CAST(%(stop)s AS bigint)) AS number,
         unnest(ARRAY['job.queued', 'job.started', 'job.completed']) AS type
    """,
    """
    INSERT INTO images (id, job_id, project_id, index, seed, storage_key, media_type, width, height, bytes, sha256,
                        receipt)
    SELECT 'img_0' || lpad(number::text, 25, '0'), 'job_0' || lpad(number::text, 25, '0'), %(project)s, 0, 7,
           'images/' || number, 'image/png', 64, 64, 5000, repeat('0', 64), '{"model": "fake", "device": "cpu"}'
    FROM generate_series(CAST(%(start)s AS bigint), CAST(%(stop)s AS bigint)) AS number
    """,
)
"""Finished jobs, spread over 31 days: the oldest day is past retention."""


def fill(url: str, project: str, total: int) -> None:
    """Insert so many finished jobs with their events and images."""
    with psycopg.connect(url, autocommit=True) as connection:
        # The foreign keys are right by construction; checking them would take most of the time.
        connection.execute("SET session_replication_role = replica")
        for start in range(1, total + 1, PART):
            values = {"project": project, "start": start, "stop": min(start + PART - 1, total), "total": total}
            for statement in FILL:
                connection.execute(statement, values)
        connection.execute("VACUUM ANALYZE")


@contextmanager
def run_retention(settings: Settings, deleted: list[int]) -> Iterator[None]:
    """Delete what is past retention in the `with` block, in the steps of the sweep."""
    has_ended = threading.Event()
    own = Database(settings, name="retention")

    def delete() -> None:
        while not has_ended.is_set():
            rows = own.execute(retention.list_old_jobs(RETENTION, CHUNK))
            if not rows:
                has_ended.wait(0.2)
                continue
            deleted.append(len(own.execute(retention.purge_jobs([row.id for row in rows]))))

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()
        own.close()


def measure(directory: Path, *, jobs: int, rounds: int, claims: int) -> list[Line]:
    """Create the two databases in an empty directory and measure them."""
    with EmbeddedPostgres(directory / "postgres") as postgres:
        queues, settings = [], []
        for name, total in (("short", min(SHORT, jobs)), ("long", jobs)):
            settings.append(Settings(database_url=postgres.create_database(name)))
            database.upgrade(settings[-1])
            queues.append(LongQueue(Database(settings[-1], name="bench"), DEPTH))
            queues[-1].fill()
            began = time.perf_counter()
            fill(str(settings[-1].database_url), queues[-1].projects[0], total)
            print(f"{total:,} finished jobs inserted in {time.perf_counter() - began:.0f} s", flush=True)
        short, long = queues
        lines = [*compare(short, long, rounds, claims, f"{jobs:,} finished jobs"), pages_line(short, long, jobs)]
        deleted: list[int] = []
        with run_retention(settings[1], deleted):
            lines += compare(short, long, rounds, claims, f"{jobs:,}, while retention deletes")
        print(f"Retention deleted {sum(deleted):,} jobs meanwhile, with their events and images.")
        for queue in queues:
            queue.database.close()
    return lines


def compare(short: LongQueue, long: LongQueue, rounds: int, claims: int, where: str) -> list[Line]:
    """Claims, submits and reads of both, in turn."""
    lines = [
        Line(f"{NAMES[name]}, {where}: p{share * 100:.0f}", "ms", f"{SHORT:,} finished jobs", at_most(1.2))
        for name, share in FIGURES
    ]
    for queue in (short, long):
        measure_round(queue, 20)  # statements are prepared after some executions
    for _ in range(rounds):
        of_short, of_long = measure_round(short, claims), measure_round(long, claims)
        for line, (name, share) in zip(lines, FIGURES, strict=True):
            line.add(quantile(of_long[name], share) * 1000, quantile(of_short[name], share) * 1000)
    return lines


def pages_line(short: LongQueue, long: LongQueue, jobs: int) -> Line:
    """What a claim with its completion, its submit and its reads costs Postgres."""
    name = f"pages for a claim, a completion, submits and reads, {jobs:,} finished jobs"
    line = Line(name, "pages", f"{SHORT:,} finished jobs", at_most(1.2))
    line.add(count_pages(long), count_pages(short))
    return line


def count_pages(queue: LongQueue, claims: int = 100) -> float:
    """Pages for each of so many claims."""
    before = read_pages(queue.database)
    measure_round(queue, claims)
    return (read_pages(queue.database) - before) / claims


def read_pages(connection: Database) -> float:
    """Pages that statements in this database have read so far."""
    connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    (row,) = connection.execute(sa.text(PAGES))
    return float(row.pages)


PAGES = "SELECT pg_stat_get_db_blocks_fetched(oid) AS pages FROM pg_database WHERE datname = current_database()"


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="finished jobs; about 2.5 GB of disk per million")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--claims", type=int, default=200, help="claims and submits, a round")
    arguments = parser.parse_args()
    with own_directory() as directory:
        lines = measure(directory, jobs=arguments.jobs, rounds=arguments.rounds, claims=arguments.claims)
    print(render(lines))


if __name__ == "__main__":
    main()
