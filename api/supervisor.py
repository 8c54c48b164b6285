"""Several processes of the API that accept connections from one socket, and the process that watches them.

A process that ends is started again; meanwhile the others accept connections. A signal to end goes to
all of them, and each finishes its open requests. Their series are counted in files of a common directory, so that each
process shows those of all at `/metrics`.
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

from prometheus_client import multiprocess

from api.edge.connections import BACKLOG
from core.settings import Settings

log = logging.getLogger(__name__)

SOCKET_OPTION = "--socket"
"""Before the number of the inherited socket, in the command line of a process."""

METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

GRACE_SECONDS = 10
"""Time for open requests when the API stops. Clients repeat a long poll."""

STARTUP_FAILURE = 3
"""The exit code of a process that could not start: another start would not help."""

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
        self._children: list[subprocess.Popen[bytes]] = []
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

    def _start(self) -> subprocess.Popen[bytes]:
        number = self._listener.fileno()
        command = [sys.executable, *_interpreter_options(), "-m", "api", SOCKET_OPTION, str(number)]
        environment = os.environ | {METRICS_VARIABLE: str(self._metrics)}
        return subprocess.Popen(command, env=environment, pass_fds=[number])  # noqa: S603 - the command is ours

    def _replace_children(self) -> int:
        """Start processes in place of those that have ended. Returns an exit code if that is useless, else 0."""
        for index, child in enumerate(self._children):
            code = child.poll()
            if code is None:
                continue
            multiprocess.mark_process_dead(child.pid, str(self._metrics))  # type: ignore[no-untyped-call]  # untyped
            if code == STARTUP_FAILURE:
                return code
            log.warning("an API process has ended with exit code %s: starting another", code)
            if self._stop.wait(RESTART_SECONDS):
                break
            self._children[index] = self._start()
        return 0

    def _end(self) -> None:
        """End all processes; kill those that take too long."""
        self._listener.close()
        for child in self._children:
            child.terminate()
        deadline = time.monotonic() + GRACE_SECONDS + 3
        for child in self._children:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _interpreter_options() -> list[str]:
    return [f"-W{option}" for option in sys.warnoptions]


def supervisor_socket(arguments: list[str]) -> socket.socket | None:
    """The socket that the supervisor has passed to this process, if it was started by one."""
    if SOCKET_OPTION not in arguments:
        return None
    return socket.socket(fileno=int(arguments[arguments.index(SOCKET_OPTION) + 1]))


def metrics_directory() -> Path | None:
    """Where the processes count their series, if there are several."""
    path = os.environ.get(METRICS_VARIABLE)
    return None if path is None else Path(path)
