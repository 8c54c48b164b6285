"""Whether the memory of a process grows with the jobs that it has seen: `python -m bench.memory`.

Jobs go through one Safelight in rounds, half of them single and half as a batch, and the memory of each program is
taken after each round. The slope is that of the straight line through the second half of the rounds: what a process
needs once, it has by then.
"""

import argparse
import statistics
from pathlib import Path

import psutil

from bench.capacity import batch, singles
from bench.directory import own_directory
from bench.service import Service
from bench.table import Line, at_most, render

PROGRAMS = ("api", "worker", "sweep")


def measure(directory: Path, *, jobs: int, rounds: int) -> list[Line]:
    """The growth of each program, in MB for 100,000 jobs."""
    megabytes: dict[str, list[float]] = {program: [] for program in PROGRAMS}
    half = jobs // rounds // 2
    with Service(directory, sweeps=True) as service:
        for _ in range(rounds):
            singles(service, half)
            batch(service, half)
            service.until_done()
            for program, values in megabytes.items():
                values.append(psutil.Process(service.pid(program)).memory_info().rss / 1e6)
            service.clear()
    return [growth(program, values, 2 * half) for program, values in megabytes.items()]


def growth(program: str, values: list[float], jobs_a_round: int) -> Line:
    """The line of a program. The reference is its memory at the end."""
    later = values[len(values) // 2 :]
    slope = statistics.linear_regression(range(len(later)), later).slope
    line = Line(f"memory of {program}, growth for 100,000 jobs", "MB", "its memory", at_most(5, "MB"))
    line.add(slope * 100_000 / jobs_a_round, values[-1])
    return line


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    with own_directory() as directory:
        lines = measure(directory, jobs=arguments.jobs, rounds=arguments.rounds)
    print(render(lines))


if __name__ == "__main__":
    main()
