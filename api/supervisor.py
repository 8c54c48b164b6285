"""Several processes of the API that accept connections from one socket, and the process that watches them.

A process that ends is started again; meanwhile the others accept connections. A process that cannot start ends the API
only if none has come up before: a catalogue that has become invalid must not end those that keep the one before. A
signal to end goes to all of them, and each finishes its open requests. Their series are counted in files of a common
directory, so that each process shows those of all at `/metrics`.
"""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from prometheus_client import multiprocess

from api.edge.connections import BACKLOG
from core.settings import Settings

log = logging.getLogger(__name__)

SOCKET_OPTION = "--socket"
"""Before the number of the inherited socket and the supervisor's process id, in the command line of a process."""

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

GRACE_SECONDS = 10
"""Time for open requests when the API stops. Clients repeat a long poll."""

STARTUP_FAILURE = 3
"""The exit code of a process that could not start."""

READY_FILE = "ready"
"""In the directory of the metrics: a process has come up since the supervisor's start."""

POLL_SECONDS = 0.5
RESTART_SECONDS = 1.0
"""Between two starts, so that a process that always ends does not take all processor time."""


def listen(settings: Settings) -> socket.socket:
    """The socket of the API. Raises OSError. `::` is all addresses of IPv4 too."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    is_dual = settings.host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG, dualstack_ipv6=is_dual)


class Supervisor:
    """Starts the processes, and starts again those that end."""

    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._count = settings.api_processes
        self._listener = listener
        self._metrics = settings.data_dir / f"api-metrics-{settings.port}"
        self._children: list[subprocess.Popen[bytes] | None] = []  # None: it has ended, or could not start
        self._has_failed_start = False
        self._stop = threading.Event()

    def run(self) -> int:
        """Serve until a signal ends it. Returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stop.set())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # each process follows the catalogue's file by itself
        shutil.rmtree(self._metrics, ignore_errors=True)  # of processes that were killed
        self._metrics.mkdir(parents=True, mode=0o700)
        exit_code = 0
        try:
            self._children = [self._start() for _ in range(self._count)]
            while not exit_code and not self._stop.wait(POLL_SECONDS):
                exit_code = self._replace_children()
        finally:
            self._end()
            shutil.rmtree(self._metrics, ignore_errors=True)
        return exit_code

    def _start(self) -> subprocess.Popen[bytes] | None:
        number = self._listener.fileno()
        interpreter = [sys.executable, *(f"-W{option}" for option in sys.warnoptions)]
        command = [*interpreter, "-m", "api", SOCKET_OPTION, str(number), str(os.getpid())]
        environment = os.environ | {METRICS_VARIABLE: str(self._metrics)}
        try:
            return subprocess.Popen(command, env=environment, pass_fds=[number])  # noqa: S603 - the command is ours
        except OSError as error:  # too many processes, or no memory
            log.error("an API process cannot be started: %s", error.strerror or error)
            self._has_failed_start = True
            return None

    def _replace_children(self) -> int:
        """Start processes in place of those that have ended. Returns an exit code if that is useless, else 0."""
        self._remove_ended()
        if self._has_failed_start and not (self._metrics / READY_FILE).exists():
            return 0 if any(self._children) else STARTUP_FAILURE  # those that still start may come up
        for index, child in enumerate(self._children):
            if child is not None:
                continue
            if self._stop.wait(RESTART_SECONDS):
                break
            self._children[index] = self._start()
        return 0

    def _remove_ended(self) -> None:
        """Forget the processes that have ended.

        The files of their counters and histograms stay: without them the series of all would fall, which Prometheus
        takes for a restart. prometheus_client adds files up, but not safely while another process reads them.
        """
        for index, child in enumerate(self._children):
            if child is None or (code := child.poll()) is None:
                continue
            multiprocess.mark_process_dead(child.pid, str(self._metrics))  # type: ignore[no-untyped-call]  # untyped
            self._children[index] = None
            if code == STARTUP_FAILURE:
                log.error("an API process could not start (exit code %s)", code)
                self._has_failed_start = True
                for file in self._metrics.glob(f"*_{child.pid}.db"):  # it has counted nothing, and more may follow
                    file.unlink()
            else:
                log.warning("an API process has ended with exit code %s: starting another", code)

    def _end(self) -> None:
        """End all processes; kill those that take too long."""
        self._listener.close()
        children = [child for child in self._children if child is not None]
        for child in children:
            child.terminate()
        deadline = time.monotonic() + GRACE_SECONDS + 3
        for child in children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


class Inheritance(NamedTuple):
    """What a supervisor passes to a process that it starts: the socket of the API, and its own process id."""

    listener: socket.socket
    supervisor: int


def read_inheritance(arguments: list[str]) -> Inheritance | None:
    """What the supervisor has passed to this process, if it was started by one."""
    if SOCKET_OPTION not in arguments:
        return None
    first = arguments.index(SOCKET_OPTION) + 1
    number, supervisor = arguments[first : first + 2]
    return Inheritance(socket.socket(fileno=int(number)), int(supervisor))


def report_ready() -> None:
    """Tell the supervisor, if there is one, that this process has come up."""
    directory = metrics_directory()
    if directory is not None:
        (directory / READY_FILE).touch()


def metrics_directory() -> Path | None:
    """Where the processes count their series, if there are several."""
    path = os.environ.get(METRICS_VARIABLE)
    return None if path is None else Path(path)
