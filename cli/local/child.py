"""A server as a child process.

Each child has its own process group, so that Ctrl-C in the terminal reaches only the parent, which stops the children
in order. On Linux the kernel ends the child when its parent dies, even by SIGKILL. To the kernel, the parent is the
thread that started the child: start children from a thread that lives as long as they do.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cli.local.account import Account

MAX_LOG_BYTES = 10_000_000
"""A larger log is copied to `NAME.log.1` and emptied."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """A server process: its name, its command, and the log for its output.

    `stop_signal` requests a graceful stop, which may take `stop_seconds`. `abandon_signal` ends the process at once.
    The kernel sends `orphan_signal` when the parent dies.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        account: Account | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
        orphan_signal: signal.Signals = signal.SIGKILL,
        abandon_signal: signal.Signals = signal.SIGKILL,
        stop_seconds: float = 10.0,
    ) -> None:
        self.name = name
        self.command = [str(word) for word in command]
        self.log = log
        self.stop_seconds = stop_seconds
        self._environment = environment
        self._directory = directory
        self._account = account
        self._stop_signal = stop_signal
        self._orphan_signal = orphan_signal
        self._abandon_signal = abandon_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._is_stopping = False

    @property
    def pid(self) -> int:
        """Id of the current or last process. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; else its exit code, or the negative number of the signal that ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process without waiting until it accepts connections."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.rotate_log()
        account = self._account
        self._is_stopping = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env=None if self._environment is None else dict(self._environment),
                process_group=0,
                preexec_fn=_make_preexec(self._orphan_signal),
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=account.groups if account else None,
            )

    def rotate_log(self) -> None:
        """Bound the size of the log. The process appends to the same file, which is therefore not renamed.

        Lines that are written between copying and emptying are lost.
        """
        with suppress(OSError):
            if self.log.stat().st_size > MAX_LOG_BYTES:
                shutil.copyfile(self.log, self.log.with_name(f"{self.log.name}.1"))
                os.truncate(self.log, 0)

    def request_stop(self) -> None:
        """Send the stop signal without waiting. It is sent only once: after a second one, some servers drop work."""
        if self._process is not None and not self._is_stopping:
            self._is_stopping = True
            self._process.send_signal(self._stop_signal)

    def stop(self) -> None:
        """Stop the process gracefully; kill it after `stop_seconds`."""
        self.request_stop()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self.stop_seconds)
        self.kill()

    def kill(self) -> None:
        """Kill the process and its process group, and wait for its end."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def abandon(self) -> None:
        """End the process group at once, without waiting. Safe in a signal handler."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, self._abandon_signal)

    def read_last_line(self) -> str:
        """The last line of its log; empty if there is none."""
        with suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""


def describe_exit(exit_code: int) -> str:
    """An exit code in words."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def _make_preexec(orphan_signal: signal.Signals) -> Callable[[], None] | None:
    """A function that the child runs between fork and exec: it ties the child's life to its parent.

    It runs after the change of the user, which would reset the setting.
    """
    if _libc is None:
        return None
    prctl, parent = _libc.prctl, os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before prctl
            os.kill(os.getpid(), signal.SIGKILL)

    return tie
