"""Children that are forked from an interpreter which has already imported what Safelight's programs import.

The imports take most of a program's start: some 1.5 s of a core, in hundreds of starts of the test run. The programs
themselves run as `python -m` runs them. Tests of `safelight up` and of the wheel start them in new interpreters.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import TextIO

PROGRAMS = ("api", "celery", "worker.sweep", "worker.training", "worker.webhooks.deliver")
"""What can be forked: the programs whose imports are among IMPORTS."""

IMPORTS = [
    "api.edge.server",
    "api.app",
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.apps.worker",
    "celery.worker.worker",
    "celery.worker.consumer",
    "celery.concurrency.thread",
    "celery.contrib.rdb",
    "kombu.transport.redis",
    "worker.generation.context",
    "worker.generation.microbatch",
    "worker.generation.presence",
    "worker.moderation.moderator",
    "worker.generators.fake",
    "worker.sweep.__main__",
    "worker.training.__main__",
    "worker.webhooks.deliver",
]
"""Modules that read no settings and start nothing when they are imported."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(IMPORTS)


class Fork:
    """A forked child with the part of `subprocess.Popen` that tests use."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        reader, writer = _context.Pipe(duplex=False)
        self._process: ForkServerProcess = _context.Process(
            target=_run, args=(list(command), dict(environment), str(directory), writer), daemon=True
        )
        self._process.start()
        writer.close()
        self.stdout: TextIO = os.fdopen(os.dup(reader.fileno()), encoding="utf-8", errors="replace")
        reader.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """The exit code, or None if it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and return the exit code."""
        self._process.join(timeout)
        if (code := self._process.exitcode) is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code


def is_forkable(command: Sequence[str]) -> bool:
    """Whether a command is `python -m` with one of PROGRAMS."""
    return tuple(command[:2]) == (sys.executable, "-m") and command[2] in PROGRAMS


def _run(command: Sequence[str], environment: Mapping[str, str], directory: str, output: Connection) -> None:
    """Become the program of a command line: its session, directory, environment, output, arguments."""
    os.setsid()
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor in (1, 2):
        os.dup2(output.fileno(), descriptor)
    output.close()
    sys.stdout = os.fdopen(1, "w", 1, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    warnings.simplefilter("default")
    module = command[2]
    sys.argv = list(command[2:])
    for name in (module, f"{module}.__main__"):
        sys.modules.pop(name, None)  # it runs as `__main__`
    runpy.run_module(module, run_name="__main__", alter_sys=True)
