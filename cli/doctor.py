"""`safelight doctor`: checks each part that a process needs and suggests a fix for each problem. Exit code 1 if any.

The only thing it writes is one small object in the storage, which it deletes again.
"""

import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from cli.checks import CHECKS, Check, CheckFailed, Subject
from cli.environment import list_available_queues, read_catalog, read_settings
from cli.errors import CommandError
from core.settings.environment import list_unknown

MIN_PYTHON = (3, 11)


class ServerProcess(StrEnum):
    """A process of Safelight."""

    API = "api"
    WORKER = "worker"
    SWEEP = "sweep"
    DELIVER = "deliver"


PARTS: dict[ServerProcess | None, tuple[str, ...]] = {
    None: tuple(CHECKS),
    ServerProcess.API: ("models", "postgres", "redis", "storage", "api", "workers", "disk"),
    ServerProcess.WORKER: ("models", "packages", "postgres", "redis", "storage", "disk"),
    ServerProcess.SWEEP: ("models", "postgres", "redis", "storage", "disk"),
    ServerProcess.DELIVER: ("postgres",),
}
"""What each process needs; None: all of them on this machine."""

COMMANDS = {
    ("safelight", "api"): ServerProcess.API,
    ("safelight", "worker"): ServerProcess.WORKER,
    ("safelight", "sweep"): ServerProcess.SWEEP,
    ("safelight", "deliver"): ServerProcess.DELIVER,
    ("-m", "api"): ServerProcess.API,
    ("-m", "celery"): ServerProcess.WORKER,
    ("-m", "worker.sweep"): ServerProcess.SWEEP,
    ("-m", "worker.webhooks.deliver"): ServerProcess.DELIVER,
}
"""Two words of a command line that say which process it starts."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check. `remedy` is empty if the part works."""

    part: str
    detail: str
    remedy: str = ""


def doctor(
    process: Annotated[
        ServerProcess | None,
        typer.Argument(help="Check what this process needs. Default: the process of this container, or else all."),
    ] = None,
    queue: Annotated[list[str] | None, typer.Option(help="Queue of the worker that is checked; repeatable.")] = None,
) -> None:
    """Check each part of the installation and suggest a fix for each problem."""
    words = read_first_command()
    process = process or find_process(words)
    findings = list(_check_parts(process, tuple(queue or find_queues(words))))
    _print_findings(findings)
    if any(finding.remedy for finding in findings):
        raise typer.Exit(1)


def read_first_command(file: Path = Path("/proc/1/cmdline")) -> list[str]:
    """The command line of process 1, which in a container is ours; empty if it cannot be read."""
    try:
        words = file.read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
    return [word.rpartition("/")[2] for word in words]


def find_process(words: Sequence[str]) -> ServerProcess | None:
    """The process that a command line starts."""
    return next((COMMANDS[pair] for pair in pairwise(words) if pair in COMMANDS), None)


def find_queues(words: Sequence[str]) -> list[str]:
    """The queues of a worker's command line."""
    values = [value for option, value in pairwise(words) if option in ("-Q", "--queue")]
    return [queue for value in values for queue in value.split(",")]


def _check_parts(process: ServerProcess | None, queues: tuple[str, ...]) -> Iterator[Finding]:
    yield _check_python()
    try:
        settings = read_settings()
    except CommandError as error:
        yield Finding("settings", "wrong", str(error))
        return
    unknown = list_unknown()
    scope = f"what {process} needs" if process else "all parts"
    yield Finding("settings", f"data in {settings.data_dir}; checking {scope}", " ".join(unknown))
    subject = Subject(settings)
    if process in (None, ServerProcess.WORKER):
        with suppress(CommandError):  # the check of the models says what is wrong with the catalogue
            subject = Subject(settings, queues or _local_queues(subject))
    for part in PARTS[process]:
        yield _run_check(part, CHECKS[part], subject)


def _local_queues(subject: Subject) -> tuple[str, ...]:
    """The queues that workers of this machine serve by default: those of local models, and of providers with a key."""
    catalog = read_catalog(subject.settings)
    available = list_available_queues(catalog, subject.settings)
    return tuple(queue for queue in catalog.queues if queue in available or not catalog.is_remote(queue))


def _run_check(part: str, check: Check, subject: Subject) -> Finding:
    try:
        return Finding(part, check(subject))
    except CheckFailed as failure:
        return Finding(part, str(failure), failure.remedy)
    except CommandError as error:
        return Finding(part, "not found", str(error))


def _print_findings(findings: list[Finding]) -> None:
    if not sys.stdout.isatty():
        for finding in findings:
            print(f"{'FAIL' if finding.remedy else 'ok':<5} {finding.part:<10} {finding.detail}")
            if finding.remedy:
                print(f"{'':<16} -> {finding.remedy}")
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("", "part", "result", "what to do", box=box.SIMPLE)  # wraps long text, unlike cli.table
    for finding in findings:
        state = Text("FAIL", "bold red") if finding.remedy else Text("ok", "green")
        table.add_row(state, finding.part, Text(finding.detail), Text(finding.remedy))
    Console().print(table)


def _check_python() -> Finding:
    remedy = "Install Python 3.11 or newer." if sys.version_info < MIN_PYTHON else ""
    return Finding("python", platform.python_version(), remedy)
