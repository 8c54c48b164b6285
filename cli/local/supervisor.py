"""Keeps servers running until a stop is requested, then stops them in order.

Servers start in order and stop in reverse order, stage by stage. A server that dies starts again after a delay that
doubles. The first Ctrl-C or SIGTERM stops gracefully; the second one ends everything at once.
"""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Protocol, Self

from cli.errors import CommandError
from cli.local.child import describe_exit

MIN_DELAY = 0.5
MAX_DELAY = 30.0
LOG_CHECK_SECONDS = 5.0
"""How often the sizes of the logs are checked."""

STABLE_SECONDS = 60.0
"""A server that ran longer than this starts again after the minimum delay."""


class Server(Protocol):
    """A process under the supervisor: a Child or an embedded server."""

    name: str

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""

    @property
    def exit_code(self) -> int | None:
        """See `Child.exit_code`."""

    def start(self) -> None:
        """Start the process. Raises CommandError."""

    def rotate_log(self) -> None:
        """See `Child.rotate_log`."""

    def request_stop(self) -> None:
        """Request a graceful stop without waiting."""

    def stop(self) -> None:
        """Stop gracefully and wait; kill the process after a timeout."""

    def abandon(self) -> None:
        """End the process at once without waiting."""


@dataclass(slots=True)
class _Entry:
    """A server, and when and after which delay it starts again."""

    server: Server
    start_time: float
    delay: float = MIN_DELAY
    restart_time: float | None = None


class Supervisor:
    """Runs servers; `log` prints a line. A context manager: on exit, all servers are stopped."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._stages: list[list[_Entry]] = []
        self._events: SimpleQueue[str] = SimpleQueue()
        self._is_running = False
        self._is_stopping = False
        self._has_signal = False
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores SIGHUP
                self._handlers[number] = signal.signal(number, self._handle_signal)
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: self._events.put("child"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_stopping = True
        self._stop_all()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    def start(self, *servers: Server) -> None:
        """Start servers as one stage: they are stopped together."""
        stage: list[_Entry] = []
        self._stages.append(stage)
        for server in servers:
            stage.append(_Entry(server, time.monotonic()))
            server.start()

    def find_dead(self) -> Server | None:
        """A server that does not run any more, if there is one."""
        return next((entry.server for entry in self._entries() if not entry.server.is_running), None)

    def run(self) -> None:
        """Restart dead servers until a stop is requested."""
        self._is_running = True
        while not self._is_stopping:
            for entry in self._entries():
                self._check(entry)
                entry.server.rotate_log()
            times = [entry.restart_time for entry in self._entries() if entry.restart_time is not None]
            wait = max(0.0, min(times) - time.monotonic()) if times else LOG_CHECK_SECONDS
            try:
                self._events.get(timeout=min(wait, LOG_CHECK_SECONDS))
            except Empty:
                continue

    def _entries(self) -> Sequence[_Entry]:
        return [entry for stage in self._stages for entry in stage]

    def _check(self, entry: _Entry) -> None:
        time_now = time.monotonic()
        if entry.restart_time is None and not entry.server.is_running:
            if time_now - entry.start_time > STABLE_SECONDS:
                entry.delay = MIN_DELAY
            self._schedule_restart(entry, describe_exit(entry.server.exit_code or 0))
        elif entry.restart_time is not None and time_now >= entry.restart_time:
            entry.start_time, entry.restart_time = time_now, None
            try:
                entry.server.start()
            except CommandError as error:
                self._schedule_restart(entry, str(error))

    def _schedule_restart(self, entry: _Entry, reason: str) -> None:
        self._log(f"{entry.server.name} has ended ({reason}); it starts again in {entry.delay:g} s.")
        entry.restart_time = time.monotonic() + entry.delay
        entry.delay = min(entry.delay * 2, MAX_DELAY)

    def _stop_all(self) -> None:
        if self._has_signal:
            self._log("Stopping: running work is finished first. Ctrl-C again stops at once.")
        for stage in reversed(self._stages):
            servers = [entry.server for entry in stage if entry.server.is_running]
            for server in servers:
                server.request_stop()
            for server in servers:
                server.stop()
        self._stages.clear()

    def _handle_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_stopping:
            for entry in self._entries():
                entry.server.abandon()
            return
        self._is_stopping = self._has_signal = True
        if not self._is_running:
            raise KeyboardInterrupt
        self._events.put("stop")
