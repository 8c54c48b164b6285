"""The program of a checker process: `python -m core.batches.checker DESCRIPTOR`, started by `checkers.py`.

It reads the bodies and the lines of batches. What it needs meanwhile, it requests from its parent: the next chunk of
the body or file, and the check of images. The parent sends Python's objects. This process responds with JSON, so that
nothing that a client sent is unpickled in the parent.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from multiprocessing.connection import Connection
from typing import Any

from core.batches.body import read_body
from core.batches.dry_run import DryRun
from core.child_process import READY, end_with_parent, limit_memory
from core.errors import InvalidRequest, SafelightError
from core.parameters.image_source import ImageSource
from core.settings import Settings

MAX_BYTES = 768 * 2**20
"""Memory for the values of a body. Two million of them, the most that it may have, take 500 MB."""

CPU_SECONDS = 120.0
"""CPU time of a call. 50,000 lines that all differ, each with metadata, take some 18 s."""

NICENESS = 10
"""Requests that need no checker come first when the CPUs are busy."""


class Parent:
    """The process that started this one."""

    def __init__(self, descriptor: int) -> None:
        self._connection: Connection[Any, Any] = Connection(descriptor)

    def say_ready(self) -> None:
        """Report that the first call may come."""
        self._connection.send_bytes(READY)

    def receive(self) -> Any:
        """The next object. Raises EOFError if the parent has closed the pipe."""
        return self._connection.recv()

    def respond(self, values: Mapping[str, Any], content: bytes | None = None) -> None:
        """Send values, and bytes after them."""
        self._connection.send_bytes(json.dumps({**values, "has_content": content is not None}).encode())
        if content is not None:
            self._connection.send_bytes(content)

    def chunks(self) -> Iterator[bytes]:
        """The chunks of the body or file. Raises the error of the parent, which may be NotFound."""
        while True:
            self.respond({"need": "chunk"})
            self._check(self.receive())
            if not (chunk := self._connection.recv_bytes()):
                return
            yield chunk

    def check_images(self, sources: Mapping[str, ImageSource], new: Sequence[str]) -> bool:
        """See `core.batches.dry_run.CheckImages`."""
        fields = set(ImageSource.model_fields)  # a reference image has others too
        images = {name: source.model_dump(include=fields) for name, source in sources.items()}
        self.respond({"need": "images", "sources": images, "new": list(new)})
        return bool(self._check(self.receive()))

    def _check(self, value: Any) -> Any:
        if isinstance(value, SafelightError):
            raise value
        return value


def main() -> None:
    """Serve until the other end of the pipe is closed, or until a call takes too long."""
    descriptor = int(sys.argv[1])
    parent = Parent(descriptor)
    settings: Settings = parent.receive()
    os.nice(NICENESS)
    limit_memory(MAX_BYTES)
    end_with_parent(descriptor)
    parent.say_ready()
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            work = parent.receive()
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # at the end of it the signal ends the process
            _serve(parent, work, settings)
            signal.setitimer(signal.ITIMER_PROF, 0)


def _serve(parent: Parent, work: DryRun | None, settings: Settings) -> None:
    """Do a dry run, or read a body."""
    try:
        if work is None:
            body = read_body(b"".join(parent.chunks()))
            parent.respond({"values": body.values, "fingerprint": body.fingerprint.hex()}, body.lines)
        else:
            parent.respond({"totals": asdict(work.run(settings, parent.chunks(), parent.check_images))})
    except SafelightError as error:
        _respond_error(parent, error)
    except MemoryError:
        text = "The batch needs too much memory to read. Divide it into smaller ones."
        _respond_error(parent, InvalidRequest(text, param="body"))
    except (EOFError, OSError):
        raise  # the parent has gone
    except Exception as error:  # without its text, which may quote a prompt
        frames = "".join(traceback.format_tb(error.__traceback__))
        parent.respond({"failure": f"{type(error).__name__}\n{frames}"})


def _respond_error(parent: Parent, error: SafelightError) -> None:
    parent.respond({"error": type(error).__name__, "message": error.message, "param": error.param})


if __name__ == "__main__":
    main()
