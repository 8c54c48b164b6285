"""Real processes of Safelight for tests: started, read, frozen, killed. Nothing in them is replaced."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tests.forks import Fork, is_forkable
from tests.waiting import FACTOR, PATIENCE

ROOT = Path(__file__).parent.parent


INTERPRETER = {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "default"}


class Process:
    """A child in its own process group, whose output can be waited for."""

    def __init__(
        self, name: str, command: list[str], environment: Mapping[str, str], *, directory: Path | None = None
    ) -> None:
        self.name = name
        self._lines: list[str] = []
        self.has_ended = False
        self._news = threading.Condition()
        self._child = _start(command, {**os.environ, **environment, **INTERPRETER}, directory)
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def _read_output(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            with self._news:
                self._lines.append(line.rstrip())
                self._news.notify_all()
        with self._news:
            self.has_ended = True
            self._news.notify_all()

    @property
    def pid(self) -> int:
        return self._child.pid

    def until_says(self, words: str) -> str:
        """Wait for a line of output with these words, from the first on."""
        return wait_for(lambda: next((line for line in self._lines if words in line), None), self._news, self, words)

    def output(self) -> str:
        return "\n".join(self._lines)

    def signal(self, number: signal.Signals) -> None:
        os.killpg(self.pid, number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """As the kernel's out-of-memory killer does it."""
        self.signal(signal.SIGKILL)
        self._child.wait(PATIENCE)

    def terminate(self) -> int:
        """Ask it to end, and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        return self._child.wait(PATIENCE)

    def abandon(self) -> None:
        """Kill it if it still runs. A test that is over needs no graceful end, which takes a second or more."""
        if self._child.poll() is None:
            self.kill()

    def close(self) -> None:
        if self._child.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self._child.wait(15 * FACTOR)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reader.join(PATIENCE)
        assert self._child.stdout is not None
        self._child.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _start(command: list[str], environment: Mapping[str, str], directory: Path | None) -> subprocess.Popen[str] | Fork:
    """A child in its own process group, which writes errors where it writes output."""
    if directory is None and is_forkable(command):
        return Fork(command, environment, ROOT)
    return subprocess.Popen(
        command,
        env=environment,
        cwd=directory or ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def wait_for(look: Callable[[], str | None], news: threading.Condition, process: Process, words: str) -> str:
    """Check again at each line of output until a line matches."""
    deadline = time.monotonic() + PATIENCE
    with news:
        while True:
            if (line := look()) is not None:
                return line
            if process.has_ended or not news.wait(deadline - time.monotonic()):
                raise AssertionError(f"{process.name} did not say {words!r} but:\n{process.output()}")


def python(*arguments: str) -> list[str]:
    """A command line of this interpreter."""
    return [sys.executable, *arguments]
