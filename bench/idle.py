"""Processor time of an idle Safelight: all that `safelight up` starts, with Postgres and Valkey.

    python -m bench.idle

The kernel counts the time of each process (psutil): for `--seconds`, which begin `--rest` seconds after readiness.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx

from bench.directory import own_directory
from bench.processor import processor_seconds, shares
from bench.service import until
from bench.table import Line, at_most, render
from cli.environment import ROOT
from cli.local.child import Child
from cli.local.ports import free_port

START_SECONDS = 300.0


def is_ready(server: Child, url: str) -> bool:
    """Whether everything answers and the worker has loaded its model. Raises RuntimeError if the server has ended."""
    if not server.is_running:
        raise RuntimeError(f"{server.name} ended: {server.read_last_line()}")
    try:
        answer = httpx.get(url)
    except httpx.TransportError:
        return False
    return answer.is_success and set(answer.json()["queues"].values()) == {"ok"}


def measure(directory: Path, *, seconds: float, rest_seconds: float) -> tuple[list[Line], Mapping[str, float]]:
    """The share of a core, in percent, of everything and by program."""
    port = free_port()
    mine = {
        "SAFELIGHT_DATA_DIR": str(directory / "data"),
        "SAFELIGHT_PORT": str(port),
        "SAFELIGHT_HOST": "127.0.0.1",
        "SAFELIGHT_AUTH": "off",
    }
    command = [sys.executable, "-m", "safelight", "up"]
    child = Child(
        "up", command, log=directory / "up.log", environment=os.environ | mine, directory=ROOT, stop_seconds=60
    )
    child.start()
    try:
        until(lambda: is_ready(child, f"http://127.0.0.1:{port}/readyz"), START_SECONDS, "Safelight to be ready")
        time.sleep(rest_seconds)  # what is measured is time without work
        before = processor_seconds(child.pid)
        time.sleep(seconds)  # the time over which it is measured
        after = processor_seconds(child.pid)
    finally:
        child.stop()
    by_program = shares(before, after, seconds)
    line = Line(
        f"CPU of everything that `safelight up` starts, idle for {seconds:.0f} s", "% of a core", "1 %", at_most(1)
    )
    line.add(sum(by_program.values()), 1.0)
    return [line], by_program


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rest", type=float, default=30)
    arguments = parser.parse_args()
    with own_directory() as directory:
        lines, by_program = measure(directory, seconds=arguments.seconds, rest_seconds=arguments.rest)
    print(render(lines))
    for program, share in sorted(by_program.items(), key=lambda item: -item[1]):
        print(f"{share:6.2f} %  {program}")


if __name__ == "__main__":
    main()
