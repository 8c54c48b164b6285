"""A server as a child process: started, watched, stopped, and never left behind.

Each child leads a process group of its own, so that a Ctrl-C in the terminal reaches only its parent, who decides the
order of stopping. On Linux the kernel ends the child when its parent dies, even by SIGKILL. Start children from a
thread that lives as long as they shall: the kernel means the parent's thread.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from cli.local.account import Account

LARGE_LOG_BYTES = 10_000_000
"""A log beyond that is put aside at the next start, and the one put aside before is dropped."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


class Child:
    """One server process: its name, its command, where its output goes.

    `stop_signal` asks it to end in good order. `orphan_signal` is what the kernel sends when the parent has died,
    `abandon_signal` what ends it at once. `patience` is how many seconds an orderly end may take.
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
        patience: float = 10.0,
    ) -> None:
        self.name = name
        self.command = [str(part) for part in command]
        self.log = log
        self.patience = patience
        self._environment = environment
        self._directory = directory
        self._account = account
        self._stop_signal = stop_signal
        self._orphan_signal = orphan_signal
        self._abandon_signal = abandon_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False

    @property
    def pid(self) -> int:
        """Process id of the running (or last) process. Raises RuntimeError before the first start."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; else its exit code, or minus the number of the signal that ended it."""
        return None if self._process is None else self._process.poll()

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; does not wait until it serves."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        if self.log.exists() and self.log.stat().st_size > LARGE_LOG_BYTES:
            self.log.replace(self.log.with_name(f"{self.log.name}.1"))
        account = self._account
        self._asked = False
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env=None if self._environment is None else dict(self._environment),
                process_group=0,
                preexec_fn=_die_with_parent(self._orphan_signal),
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=account.groups if account else None,
            )

    def ask_to_stop(self) -> None:
        """Send the stop signal, once, and return at once: a second one would make some servers drop their work."""
        if self._process is not None and not self._asked:
            self._asked = True
            self._process.send_signal(self._stop_signal)

    def stop(self) -> None:
        """End it in good order, or by force when that takes longer than its patience."""
        self.ask_to_stop()
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self.patience)
        self.kill()

    def kill(self) -> None:
        """End it at once, and whatever it has started in its process group."""
        if self._process is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def abandon(self) -> None:
        """Make it end at once without waiting for it: all that a signal handler may do."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, self._abandon_signal)

    def last_words(self) -> str:
        """The last line of its log; empty when it wrote none."""
        with suppress(FileNotFoundError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = log.read().decode(errors="replace").split("\n")
            return next((line.strip() for line in reversed(lines) if line.strip()), "")
        return ""


def how_it_ended(exit_code: int) -> str:
    """An exit code in words."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def _die_with_parent(orphan_signal: signal.Signals) -> Callable[[], None] | None:
    """What a child runs between fork and exec, after its user has changed (which would undo it)."""
    if _libc is None:
        return None
    prctl, parent = _libc.prctl, os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, int(orphan_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), signal.SIGKILL)

    return tie
