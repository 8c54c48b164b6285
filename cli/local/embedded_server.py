"""Base class of the embedded servers: a directory with port and password, and a child process."""

import os
import secrets
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.errors import CommandError
from cli.local.account import get_account
from cli.local.child import Child, describe_exit
from cli.local.ports import free_port, is_free

START_SECONDS = 60.0
"""Maximum time until a server answers; recovery after a power cut is slow."""


class EmbeddedServer:
    """Base class of both servers: a directory with port and password, and a child process."""

    name: str
    stop_signal = signal.SIGTERM
    orphan_signal = signal.SIGKILL
    abandon_signal = signal.SIGKILL

    def __init__(self, directory: Path, *, log: Path | None = None) -> None:
        self.directory = directory.absolute()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log = log or self.directory / f"{self.name}.log"
        self.password = read_or_create(self.directory / "password", secrets.token_urlsafe(24))
        self.port = int(read_or_create(self.directory / "port", str(free_port())))
        self.account = get_account() if self.name == "postgres" else None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """URL for clients, with the password."""
        raise NotImplementedError

    @property
    def child(self) -> Child:
        """The server's process. Raises RuntimeError before the first start."""
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._child

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self.child.pid

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._child is not None and self._child.is_running

    @property
    def exit_code(self) -> int | None:
        """See `Child.exit_code`."""
        return self.child.exit_code

    def start(self) -> None:
        """Start the server and wait until it accepts connections. Raises CommandError."""
        if self._child is None and not is_free(self.port):  # another program uses it now
            self.port = free_port()
            (self.directory / "port").write_text(str(self.port))
        self._child = Child(
            self.name,
            self._command(),
            log=self.log,
            account=self.account,
            stop_signal=self.stop_signal,
            orphan_signal=self.orphan_signal,
            abandon_signal=self.abandon_signal,
            stop_seconds=20.0,
        )
        self._child.start()
        self._wait_until_ready(self._child)

    def rotate_log(self) -> None:
        """See `Child.rotate_log`."""
        self.child.rotate_log()

    def request_stop(self) -> None:
        """Request a graceful stop without waiting."""
        self.child.request_stop()

    def abandon(self) -> None:
        """End the server at once without waiting. Safe in a signal handler."""
        if self._child is not None:
            self._child.abandon()

    def stop(self) -> None:
        """Stop the server gracefully; it writes its data to disk first."""
        if self._child is not None:
            self._child.stop()

    def kill(self) -> None:
        """Kill the server, as in a power cut."""
        self.child.kill()

    def _command(self) -> Sequence[str | Path]:
        raise NotImplementedError

    def _accepts_connections(self) -> bool:
        raise NotImplementedError

    def _wait_until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts_connections():
            if (code := child.exit_code) is not None:
                raise CommandError(
                    f"{self.name} did not start ({describe_exit(code)}): {child.read_last_line()} See {self.log}."
                )
            if time.monotonic() > deadline:
                child.kill()
                raise CommandError(f"{self.name} did not answer within {START_SECONDS:.0f} s. See {self.log}.")
            time.sleep(0.02)  # the servers do not signal that they are ready

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def read_or_create(path: Path, content: str) -> str:
    """The content of a file. If it does not exist, it is created with `content`."""
    with suppress(FileExistsError), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content)
    return path.read_text()
