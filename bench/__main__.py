"""All promises in one table: `python -m bench`, or `make bench`. Some forty minutes on an otherwise idle machine.

Each part starts servers of its own. The figures go to build/bench.json after each part; a run that is cut short
continues with `--resume`. `--write` puts table and plots into docs/05-performance.md and docs/images/.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from bench import (
    batch,
    checks,
    curves,
    history,
    idle,
    memory,
    processor_time,
    queue_length,
    report,
    studio,
    submit_to_done,
    webhooks,
)
from bench.directory import own_directory
from bench.peers import __main__ as peers
from bench.service import Service
from bench.table import Line, Target, render

RESULTS = Path("build") / "bench.json"

Part = Callable[[Path], Sequence[Line]]


def parts(scale: float) -> Mapping[str, Part]:
    """The parts by name. scale: 1 for a whole run, less for a quick one."""

    def amount(number: int, minimum: int = 1) -> int:
        return max(minimum, round(number * scale))

    rounds = amount(5)
    return {
        "submit_to_done": lambda directory: submit_to_done.measure(
            directory, rounds=rounds, jobs=amount(1000, 32), connections=32, seconds=max(0.2, 3 * scale),
            singles=amount(100, 4), batches=amount(20, 2),
        ),
        "peers": lambda directory: peers.measure(
            directory, rounds=amount(3), jobs=amount(500, 32), batch=amount(10_000, 64), images=amount(12) * 8
        ),
        "batch": lambda directory: batch.measure(
            directory, parts=["insert", "memory", "wait", "groups"], rounds=rounds, lines=amount(50_000, 50),
            megabytes=amount(185), samples=amount(20, 2), batches=amount(3) * 8, depth=0,
        ),
        "webhooks": lambda directory: webhooks.measure(
            directory, webhooks.PARTS, rounds=rounds, deliveries=amount(800, 16), events=amount(200, 5),
            hanging=amount(50, 3), pause=0.1 * scale,
        ),
        "idle": lambda directory: idle.measure(
            directory, seconds=max(2.0, 60 * scale), rest_seconds=max(1.0, 30 * scale)
        )[0],
        "queue_length": lambda directory: queue_length.measure(
            directory, depth=amount(1_000_000, 2000), rounds=rounds, claims=amount(200, 3), bulk=amount(2000, 10),
            churn=amount(100_000, 20),
        ),
        "history": lambda directory: history.measure(
            directory, jobs=amount(1_000_000, 2000), rounds=rounds, claims=amount(200, 3)
        ),
        "memory": lambda directory: memory.measure(directory, jobs=amount(100_000, 400), rounds=amount(20, 4)),
        "processor_time": with_service(
            lambda service: processor_time.measure(service, rounds, amount(3000, 20), connections=32)
        ),
        "checks": with_service(lambda service: checks.measure(service, rounds, amount(3000, 20), connections=32)),
        "studio": lambda directory: studio.measure(
            directory, jobs=amount(100_000, 500), rounds=amount(40, 2), cards=amount(50, 5), seconds=max(1, 20 * scale)
        ),
        "curves": lambda directory: curves.measure(directory, seconds=max(0.5, 3 * scale), batches=amount(10)),
    }  # fmt: skip


def with_service(measure: Callable[[Service], Sequence[Line]]) -> Part:
    """A part that needs one Safelight with the default settings."""

    def part(directory: Path) -> Sequence[Line]:
        with Service(directory) as service:
            return measure(service)

    return part


def read(file: Path) -> dict[str, list[Line]]:
    """The lines by part that an earlier run has left."""
    if not file.exists():
        return {}
    return {
        part: [Line(**{**line, "target": Target(**line["target"]) if line["target"] else None}) for line in lines]
        for part, lines in json.loads(file.read_text()).items()
    }


def write(file: Path, lines: Mapping[str, Sequence[Line]]) -> None:
    """Keep the lines by part."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({part: [asdict(line) for line in group] for part, group in lines.items()}, indent=1))


def measure(part: Part) -> Sequence[Line]:
    """Run a part in a directory of its own."""
    with own_directory() as directory:
        return part(directory)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(parts(1)), nargs="+", default=list(parts(1)))
    parser.add_argument("--scale", type=float, default=1.0, help="0.2: a fifth of the work, and less certain figures")
    parser.add_argument("--resume", action="store_true", help=f"keep the parts that {RESULTS} has")
    parser.add_argument("--write", action="store_true", help="put the figures into the documentation")
    arguments = parser.parse_args()
    by_part = read(RESULTS) if arguments.resume else {}
    for name in arguments.only:
        if name not in by_part:
            by_part[name] = list(measure(parts(arguments.scale)[name]))
            write(RESULTS, by_part)
            print(f"\n{name}\n{render(by_part[name])}", flush=True)
    promises = [line for lines in by_part.values() for line in lines if line.target is not None]
    print(f"\nPromises\n{render(promises)}")
    print(f"{sum(line.is_reached is True for line in promises)} of {len(promises)} are reached.")
    if arguments.write:
        report.write(by_part)


if __name__ == "__main__":
    main()
