"""Keeps servers alive until somebody asks to stop, then stops them in order and leaves none behind.

Servers are started in order and stopped in the reverse order, stage by stage; one that dies is started again after a
pause that doubles, and a line says so. The first Ctrl-C or SIGTERM drains; a second one ends everything at once.
"""

import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import FrameType, TracebackType
from typing import Protocol, Self

from cli.errors import CommandError
from cli.local.child import how_it_ended

FIRST_PAUSE = 0.5
MAX_PAUSE = 30.0
STEADY_SECONDS = 60.0
"""A server that ran for so long starts again with the first pause."""


class Server(Protocol):
    """A process that the supervisor looks after: a Child, or an embedded server."""

    name: str

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""

    @property
    def exit_code(self) -> int | None:
        """How it ended."""

    def start(self) -> None:
        """Start it. Raises CommandError."""

    def ask_to_stop(self) -> None:
        """Ask it to end in good order, and return at once."""

    def stop(self) -> None:
        """Wait until it has ended in good order, by force after its patience."""

    def abandon(self) -> None:
        """Make it end at once, without waiting. Safe in a signal handler."""


@dataclass(slots=True)
class _Watched:
    server: Server
    started_at: float
    pause: float = FIRST_PAUSE
    start_at: float | None = None


class Supervisor:
    """Looks after servers; `say` tells the terminal. Use it as a context: on leaving, everything has stopped."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._stages: list[list[_Watched]] = []
        self._events: SimpleQueue[str] = SimpleQueue()
        self._started = False
        self._asked = False
        self._draining = False
        self._handlers: dict[signal.Signals, object] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup means it
                self._handlers[number] = signal.signal(number, self._asked_to_stop)
        self._handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: self._events.put("child"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._draining = True
        self._drain()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    def start(self, *servers: Server) -> None:
        """Start servers, which make one stage: they are asked to stop together."""
        stage: list[_Watched] = []
        self._stages.append(stage)
        for server in servers:
            stage.append(_Watched(server, time.monotonic()))
            server.start()

    def dead(self) -> Server | None:
        """A server that has ended by itself, if there is one."""
        return next((each.server for each in self._watched() if not each.server.is_running), None)

    def run(self) -> None:
        """Start again whatever dies, until somebody asks to stop."""
        self._started = True
        while not self._draining:
            for each in self._watched():
                self._look_after(each)
            waiting = [each.start_at for each in self._watched() if each.start_at is not None]
            try:
                self._events.get(timeout=max(0.0, min(waiting) - time.monotonic()) if waiting else None)
            except Empty:
                continue

    def _watched(self) -> Sequence[_Watched]:
        return [each for stage in self._stages for each in stage]

    def _look_after(self, each: _Watched) -> None:
        now = time.monotonic()
        if each.start_at is None and not each.server.is_running:
            if now - each.started_at > STEADY_SECONDS:
                each.pause = FIRST_PAUSE
            self._try_later(each, how_it_ended(each.server.exit_code or 0))
        elif each.start_at is not None and now >= each.start_at:
            each.started_at, each.start_at = now, None
            try:
                each.server.start()
            except CommandError as error:
                self._try_later(each, str(error))

    def _try_later(self, each: _Watched, reason: str) -> None:
        self._say(f"{each.server.name} has ended ({reason}); it starts again in {each.pause:g} s.")
        each.start_at = time.monotonic() + each.pause
        each.pause = min(each.pause * 2, MAX_PAUSE)

    def _drain(self) -> None:
        if self._asked:
            self._say("Stopping: what is in hand is finished first. Ctrl-C again stops at once.")
        for stage in reversed(self._stages):
            running = [each.server for each in stage if each.server.is_running]
            for server in running:
                server.ask_to_stop()
            for server in running:
                server.stop()
        self._stages.clear()

    def _asked_to_stop(self, _number: int, _frame: FrameType | None) -> None:
        if self._draining:
            for each in self._watched():
                each.server.abandon()
            return
        self._draining = self._asked = True
        if not self._started:
            raise KeyboardInterrupt
        self._events.put("stop")
