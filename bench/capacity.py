"""What a hundred million jobs a day would need: `python -m bench.capacity`.

First it measures what a job costs on this machine: WAL and rows of Postgres, commits, commands of Redis, processor time
by program, for single jobs and for jobs of a batch. Then it multiplies, for an average day and its peak, and simulates
the queue before the API at the peak, to check that the number of processes holds the tail. docs/12-scaling.md explains
the result. The generator does no work, and images are 64x64: devices and the sizes of images are not part of the model.
"""

import argparse
import heapq
import os
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil

from bench.directory import own_directory
from bench.load import load
from bench.processor import processor_seconds, shares
from bench.service import Service
from bench.submit_to_done import body, check_files
from bench.table import quantile
from cli.table import align

DAY = 86_400
PEAK = 3.0
"""The busiest minute over the average of the day."""

UTILISATION = 0.6
"""The share of a core that a program may use at the peak, so that its queue stays short."""

COUNTERS = """
    SELECT pg_current_wal_lsn() - '0/0'::pg_lsn AS wal,
           (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()) AS commits,
           (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables) AS rows
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one job costs."""

    wal_bytes: float
    rows: float  # inserted, updated or deleted
    commits: float
    redis_commands: float
    processor_ms: Mapping[str, float]  # by program


def measure(service: Service, work: Callable[[], None], jobs: int) -> Cost:
    """The counters before and after some work, per job."""
    service.clear()
    before, redis_before, processor_before = counters(service), commands(service), processor_seconds(os.getpid())
    work()
    service.until_done()
    percent = shares(processor_before, processor_seconds(os.getpid()), seconds=1.0)
    after = counters(service)
    check_files(service, jobs)
    by_program: dict[str, float] = {}
    for program, share in percent.items():
        name = "postgres" if program.startswith("postgres") else program
        by_program[name] = by_program.get(name, 0.0) + 10 * share / jobs  # percent of a second, in ms
    wal, commits, rows = (after[name] - before[name] for name in ("wal", "commits", "rows"))
    return Cost(wal / jobs, rows / jobs, commits / jobs, (commands(service) - redis_before) / jobs, by_program)


def counters(service: Service) -> Mapping[str, float]:
    """Postgres's counters. A session reports its own at most once a second, which thousands of jobs hardly miss."""
    service.query("SELECT pg_stat_clear_snapshot()")
    (row,) = service.query(COUNTERS)
    return {name: float(value) for name, value in row.items()}


def commands(service: Service) -> float:
    """Redis's counter."""
    return float(service.redis.info("stats")["total_commands_processed"])


def singles(service: Service, jobs: int) -> None:
    """A POST for each job."""
    load(f"{service.url}/v1/jobs", body("fake"), connections=32, requests=jobs, expect=202)


def batch(service: Service, jobs: int) -> None:
    """One POST for all jobs."""
    fields = {"prompts": [f"a red fox, number {number}" for number in range(jobs)], "model": "fake", "size": "64x64"}
    service.client.post("/v1/batches", json=fields).raise_for_status()


def needs(cost: Cost, jobs_a_day: float) -> list[tuple[str, str]]:
    """What a day of such jobs needs at its peak."""
    rate = jobs_a_day / DAY * PEAK

    def cores(program: str) -> float:
        return rate * cost.processor_ms.get(program, 0.0) / 1000 / UTILISATION

    return [
        ("jobs/s, average and peak", f"{rate / PEAK:,.0f} and {rate:,.0f}"),
        ("WAL, MB/s", f"{rate * cost.wal_bytes / 1e6:,.0f}"),
        ("WAL a day, TB", f"{jobs_a_day * cost.wal_bytes / 1e12:.2f}"),
        ("rows written/s", f"{rate * cost.rows:,.0f}"),
        ("commits/s", f"{rate * cost.commits:,.0f}"),
        ("Redis commands/s", f"{rate * cost.redis_commands:,.0f}"),
        ("API processes", f"{ceil(cores('api'))}"),
        ("cores for workers' own work", f"{cores('worker'):.0f}"),
        ("cores for Postgres", f"{cores('postgres'):.0f}"),
    ]


def simulate(rate: float, service_seconds: float, servers: int, requests: int = 200_000) -> float:
    """The p99, in seconds, of the wait of requests that arrive at random before so many processes."""
    source = random.Random(7)
    free_at = [0.0] * servers
    now, waits = 0.0, []
    for _ in range(requests):
        now += source.expovariate(rate)
        begin = max(now, heapq.heappop(free_at))
        waits.append(begin - now)
        heapq.heappush(free_at, begin + source.expovariate(1 / service_seconds))
    return quantile(waits, 0.99)


def show(rows: list[tuple[str, ...]]) -> None:
    """Print a table."""
    head, *lines = align(rows)
    rule = ["-" * len(cell) for cell in head]
    print("\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *lines)), end="\n\n", flush=True)


def report(costs: Mapping[str, Cost], jobs_a_day: float) -> None:
    """Print what was measured, what it comes to, and the simulation."""
    programs = sorted({program for cost in costs.values() for program in cost.processor_ms})
    rows: list[tuple[str, ...]] = [("a job costs", *costs)]
    rows += [
        ("WAL, bytes", *(f"{cost.wal_bytes:,.0f}" for cost in costs.values())),
        ("rows written", *(f"{cost.rows:.1f}" for cost in costs.values())),
        ("commits", *(f"{cost.commits:.2f}" for cost in costs.values())),
        ("Redis commands", *(f"{cost.redis_commands:.1f}" for cost in costs.values())),
    ]
    for program in programs:
        values = [cost.processor_ms.get(program, 0.0) for cost in costs.values()]
        if max(values) >= 0.01:
            rows.append((f"processor time of {program}, ms", *(f"{value:.3f}" for value in values)))
    show(rows)
    columns = [needs(cost, jobs_a_day) for cost in costs.values()]
    show(
        [
            (f"{jobs_a_day:,.0f} jobs a day at the peak", *costs),
            *((name, *(column[number][1] for column in columns)) for number, (name, _) in enumerate(columns[0])),
        ]
    )
    single = costs["single jobs"]
    rate, seconds = jobs_a_day / DAY * PEAK, single.processor_ms["api"] / 1000
    rows = [("API processes", "utilisation", "p99 of the wait for a process, ms")]
    for servers in sorted({ceil(rate * seconds / share) for share in (0.95, 0.8, UTILISATION, 0.4)}):
        wait = simulate(rate, seconds, servers)
        rows.append((str(servers), f"{rate * seconds / servers:.2f}", f"{wait * 1000:.2f}"))
    show(rows)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--singles", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--day", type=float, default=100e6, help="jobs a day")
    arguments = parser.parse_args()
    with own_directory() as directory, Service(directory, sweeps=True) as service:
        singles(service, 64)
        service.until_done()
        costs = {
            "single jobs": measure(service, lambda: singles(service, arguments.singles), arguments.singles),
            "jobs of a batch": measure(service, lambda: batch(service, arguments.batch), arguments.batch),
        }
    report(costs, arguments.day)


if __name__ == "__main__":
    main()
