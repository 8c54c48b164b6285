"""Processes that read the bodies of batches and validate their lines for a dry run. Projects share them fairly.

Both take seconds of CPU time. In a thread they would take the interpreter from all other requests
(`docs/decisions/0031-batches-are-read-in-processes.md`). The processes start when they are needed, and end when idle.
"""

import asyncio
import json
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.batches.body import BatchBody
from core.batches.checker import CPU_SECONDS
from core.batches.dry_run import CheckImages, DryRun, Totals
from core.child_process import ChildProcess
from core.errors import InternalError, InvalidRequest, SafelightError
from core.limit_errors import TooManyUploads
from core.parameters.image_source import ImageSource
from core.settings import Settings
from core.threads import FairThreads, TooManyCalls

log = logging.getLogger(__name__)

CHECKERS = 2
"""Maximum number of processes. A project uses one of them at a time."""

MAX_WAITING = 15
"""Calls of a project that may wait for a process. Each has a body of up to 16 MB in memory."""

IDLE_SECONDS = 60.0
"""Time after which an idle process is ended. It takes 100 MB."""

WALL_FACTOR = 3
"""How many times the CPU time a step may take by the clock, while other processes use the CPUs."""

ATTEMPTS = 2
"""A process may also die for another reason than its batch."""


class CheckerTimeout(Exception):
    """The batch took too long."""


class CheckerDied(Exception):
    """The process ended while it worked."""


@dataclass(frozen=True, slots=True)
class Source:
    """What a checker may request while it works."""

    chunks: Callable[[], Iterable[bytes]]
    check_images: CheckImages


def _has_no_images(_: Any, __: Any) -> bool:
    raise AssertionError("a body is read without its images")


class Checkers:
    """The checker processes of an API process. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = FairThreads("check", CHECKERS, per_project=1, max_waiting=MAX_WAITING)
        self._lock = threading.Lock()
        self._idle: list[_Checker] = []
        self._checkers: set[_Checker] = set()
        self._timer: threading.Timer | None = None
        self._is_closed = False

    async def read_body(self, project_id: str, content: bytes) -> BatchBody:
        """Read the body of a batch; see `core.batches.body`. Raises InvalidRequest, TooManyUploads."""
        values, lines = await self._run(project_id, None, Source(lambda: [content], _has_no_images))
        return BatchBody(values["values"], lines, bytes.fromhex(values["fingerprint"]))

    async def check(self, project_id: str, dry_run: DryRun, source: Source) -> Totals:
        """Validate the lines of a batch. Raises InvalidRequest, StorageUnavailable, TooManyUploads."""
        values, _ = await self._run(project_id, dry_run, source)
        return Totals(**values["totals"])

    def close(self) -> None:
        """End the processes."""
        self._threads.close()
        with self._lock:
            self._is_closed = True
            if self._timer is not None:
                self._timer.cancel()
            idle, self._idle = self._idle, []
            for checker in self._checkers.difference(idle):
                checker.stop()  # the thread that uses it cleans up
            self._checkers.difference_update(idle)
        for checker in idle:
            checker.kill()

    async def _run(
        self, project_id: str, work: DryRun | None, source: Source
    ) -> tuple[Mapping[str, Any], bytes | None]:
        try:
            call = self._threads.submit(project_id, self._call, work, source)
        except TooManyCalls:
            raise TooManyUploads(
                f"At most {MAX_WAITING + 1} batches of a project are read at once; nothing was stored, try again."
            ) from None
        return await asyncio.wrap_future(call)

    def _call(self, work: DryRun | None, source: Source) -> tuple[Mapping[str, Any], bytes | None]:
        for _ in range(ATTEMPTS):
            checker = self._take()
            try:
                return checker.call(work, source)
            except CheckerTimeout:
                raise InvalidRequest(
                    f"The batch took longer than {CPU_SECONDS:g} s to read. Divide it into smaller ones.", param="body"
                ) from None
            except CheckerDied:
                log.warning("a process died while it read a batch (exit status %s)", checker.exit_status)
            finally:
                self._release(checker)
        raise InvalidRequest("The batch cannot be read: the process that read it ended, twice.", param="body")

    def _take(self) -> "_Checker":
        with self._lock:
            if self._idle:
                return self._idle.pop()
        checker = _Checker(self._settings)
        with self._lock:
            self._checkers.add(checker)
            is_closed = self._is_closed
        if is_closed:
            self._release(checker)
            raise RuntimeError("the checkers are closed")
        return checker

    def _release(self, checker: "_Checker") -> None:
        with self._lock:
            if checker.is_alive and not self._is_closed:
                checker.idle_since = time.monotonic()
                self._idle.append(checker)
                self._start_timer()
                return
            self._checkers.discard(checker)
        checker.kill()

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(IDLE_SECONDS, self._end_idle)
            self._timer.daemon = True
            self._timer.start()

    def _end_idle(self) -> None:
        """End the processes that had no call for a while."""
        before = time.monotonic() - IDLE_SECONDS
        with self._lock:
            idle = [checker for checker in self._idle if checker.idle_since <= before]
            self._idle = [checker for checker in self._idle if checker.idle_since > before]
            self._checkers.difference_update(idle)
            self._timer = None
            if self._idle:
                self._start_timer()
        for checker in idle:
            checker.kill()


class _Checker(ChildProcess):
    """A checker process."""

    def __init__(self, settings: Settings) -> None:
        environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}  # where the API writes its large files
        super().__init__("core.batches.checker", [], environment, settings)
        self.idle_since = 0.0

    def call(self, work: DryRun | None, source: Source) -> tuple[Mapping[str, Any], bytes | None]:
        """The values and the bytes of the response.

        Raises SafelightError, CheckerTimeout or CheckerDied; after the last two the process is dead.
        """
        try:
            self.connection.send(work)
            chunks = iter(source.chunks())
            while "need" in (values := self._receive()):
                self._serve(values, chunks, source.check_images)
            content = self.connection.recv_bytes() if values.get("has_content") else None
        except (EOFError, OSError):
            self.kill()
            raise (CheckerTimeout if self.exit_status == -signal.SIGPROF else CheckerDied) from None
        except BaseException:  # the process waits for what it requested
            self.kill()
            raise
        if "failure" in values:
            log.error("a batch cannot be read: %s", values["failure"])
            raise InternalError
        if "error" in values:
            raise _error_class(values["error"])(values["message"], param=values["param"])
        return values, content

    def _receive(self) -> dict[str, Any]:
        if not self.connection.poll(WALL_FACTOR * CPU_SECONDS):
            self.kill()
            raise CheckerTimeout
        values: dict[str, Any] = json.loads(self.connection.recv_bytes())
        return values

    def _serve(self, values: Mapping[str, Any], chunks: Iterator[bytes], check_images: CheckImages) -> None:
        """Send what the process needs, or the error."""
        content: bytes | None = None
        result: object
        try:
            if values["need"] == "chunk":
                content, result = next(chunks, b""), None
            else:
                sources = {name: ImageSource(**source) for name, source in values["sources"].items()}
                result = check_images(sources, values["new"])
        except SafelightError as error:
            content, result = None, error
        self.connection.send(result)
        if content is not None:
            self.connection.send_bytes(content)


def _error_class(name: str) -> type[SafelightError]:
    """The class of an error, in whichever module it is."""
    kinds: list[type[SafelightError]] = [SafelightError]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
    return next(kind for kind in kinds if kind.__name__ == name)
