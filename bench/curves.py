"""How throughput grows with processes: `python -m bench.curves`.

Accepted jobs with one, two and four API processes. Images with one to eight workers, each with a device that takes
0.3 s for a micro-batch and no processor time, so that the number of processor cores does not end the curve at once.
The processor time of each program shows what the first limit is.
"""

import argparse
import os
import time
from pathlib import Path

from bench.directory import own_directory
from bench.load import load
from bench.processor import processor_seconds, shares
from bench.service import Service
from bench.submit_to_done import body, check_files, database_seconds
from bench.table import Line, at_least, render

API_PROCESSES = (1, 2, 4)
WORKERS = (1, 2, 4, 8)
PASS_SECONDS = 0.3


def accept(directory: Path, seconds: float, rounds: int = 3) -> list[Line]:
    """Accepted jobs a second by API processes, beside one process."""
    rates: dict[int, list[float]] = {}
    for processes in API_PROCESSES:
        place = directory / f"api{processes}"
        place.mkdir(mode=0o755)
        with Service(place, settings={"SAFELIGHT_API_PROCESSES": str(processes)}) as service:
            for _ in range(rounds + 1):
                service.clear()
                press = load(f"{service.url}/v1/jobs", body("unheard"), connections=64, seconds=seconds, expect=202)
                rates.setdefault(processes, []).append(press.rate)
    lines = []
    for processes, values in rates.items():
        line = Line(f"accepted jobs, API processes: {processes}", "1/s", "one API process")
        for ours, theirs in zip(values[1:], rates[1][1:], strict=True):
            line.add(ours, theirs)
        lines.append(line)
    return lines


def generate(directory: Path, batches: int) -> tuple[list[Line], dict[int, dict[str, float]]]:
    """Images a second by workers, beside what so many devices can; and percent of a core by program."""
    lines, by_workers = [], {}
    for workers in WORKERS:
        place = directory / f"workers{workers}"
        place.mkdir(mode=0o755)
        with Service(place, workers=workers) as service:
            jobs = workers * batches * service.model("busy").microbatch_size
            load(f"{service.url}/v1/jobs", body("busy"), connections=32, requests=workers * 8, expect=202)
            service.until_done()  # every worker has its connections and its generator
            service.clear()
            before, began = processor_seconds(os.getpid()), time.perf_counter()
            load(f"{service.url}/v1/jobs", body("busy"), connections=32, requests=jobs, expect=202)
            service.until_done()
            by_workers[workers] = shares(before, processor_seconds(os.getpid()), time.perf_counter() - began)
            line = Line(f"images, workers: {workers}", "1/s", "their devices alone", at_least(0.95))
            line.add(jobs / database_seconds(service, jobs), workers * 8 / PASS_SECONDS)
            check_files(service, jobs)
            lines.append(line)
    return lines, by_workers


def measure(directory: Path, *, seconds: float, batches: int) -> list[Line]:
    """Both curves."""
    lines, _ = generate(directory, batches)
    return [*accept(directory, seconds), *lines]


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="how long the API is pressed, a round")
    parser.add_argument("--batches", type=int, default=10, help="micro-batches for each worker")
    arguments = parser.parse_args()
    with own_directory() as directory:
        lines, by_workers = generate(directory, arguments.batches)
        print(render(lines), flush=True)
        print(render(accept(directory, arguments.seconds)))
    for workers, by_program in by_workers.items():
        largest = sorted(by_program.items(), key=lambda item: -item[1])[:5]
        print(f"{workers} workers: {', '.join(f'{program} {share:.0f} % of a core' for program, share in largest)}")


if __name__ == "__main__":
    main()
