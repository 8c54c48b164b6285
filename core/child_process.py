"""Child processes for work that a client can make slow or large: a process can be limited and ended, a thread cannot.

Such a process also leaves Python's interpreter to the requests of others. It runs a module of ours, `python -m`, speaks
with its parent over a pipe, and ends when its parent does.
"""

import os
import resource
import select
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

START_SECONDS = 60.0
"""Maximum time of the start of a process. It takes a fifth of a second, or a second with the database's libraries."""

READY = b"ready"

_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Of the libraries of a child: those of a large machine would take all of its address space."""


class ChildProcess:
    """A child, for one call at a time. `connection` is the pipe to it."""

    def __init__(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], first_message: Any = None
    ) -> None:
        """Start `python -m module DESCRIPTOR arguments` and wait until it is ready. Raises RuntimeError.

        first_message: sent before that, if it is not None.
        """
        self.connection: Connection[Any, Any]
        self.connection, other_end = Pipe()
        descriptor = other_end.fileno()
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, and no text of a client
            [sys.executable, "-m", module, str(descriptor), *arguments],
            env={**environment, **_THREADS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            pass_fds=[descriptor],
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C in a terminal reaches the process that started it
        )
        other_end.close()
        self.is_alive = True
        try:
            if first_message is not None:
                self.connection.send(first_message)
            if not self.connection.poll(START_SECONDS) or self.connection.recv_bytes() != READY:
                raise EOFError
        except (EOFError, OSError):
            self.kill()
            raise RuntimeError(f"{module} did not start (exit status {self.exit_status})") from None

    @property
    def exit_status(self) -> int | None:
        """As `subprocess` has it; None while the process runs."""
        return self._process.returncode

    def kill(self) -> None:
        """End the process and wait for it."""
        self.stop()
        self._process.wait()
        self.connection.close()

    def stop(self) -> None:
        """End the process. Another thread may be using it."""
        self.is_alive = False
        with suppress(OSError):
            self._process.kill()


# For the child


def limit_memory(size: int) -> None:
    """Let this process allocate `size` bytes more than now. Not every system can do that."""
    with suppress(OSError, ValueError):
        with open("/proc/self/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        limit = pages * resource.getpagesize() + size
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def end_with_parent(descriptor: int) -> None:
    """End this process as soon as the other end of its pipe is closed, whatever it computes then."""

    def wait() -> None:
        poll = select.poll()
        poll.register(descriptor, 0)  # a hang-up is always reported
        poll.poll()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()
