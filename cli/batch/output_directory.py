"""The directory a batch's images go to: what is in it is whole, and a small file says which batch it belongs to.

Everything is written under another name and renamed, so that a process that dies at any moment leaves nothing that
looks finished and is not. One command at a time holds a directory.
"""

import fcntl
import json
import os
import re
import shlex
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, cast

from cli.client import Image
from cli.errors import CommandError

STATE = ".safelight-batch.json"
LOCK = ".safelight-batch.lock"
UNFINISHED = ".unfinished"

MAX_NAME_CHARS = 100
"""Characters of a custom_id that become part of a file's name; a file system takes 255 bytes."""


class State(TypedDict):
    """What a command that comes back has to know. Written before anything that must not be done twice."""

    fingerprint: str  # of the input and the options
    idempotency_key: str
    request: dict[str, Any]  # of the batch, but for the file's id
    file_id: str | None
    batches: list[str]  # the batch and its retries, in order


class OutputDirectory:
    """A directory that this command holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._minds_case = not (path / STATE.upper()).exists()

    @property
    def command(self) -> str:
        """The command that comes back to it, as a shell takes it."""
        return f"safelight batch --out {shlex.quote(str(self.path))}"

    @property
    def state(self) -> State | None:
        """What the last command knew; None if there was none. Raises CommandError if it is damaged."""
        try:
            return cast(State, json.loads((self.path / STATE).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise CommandError(f"{self.path / STATE} cannot be read: --new forgets it and begins anew.") from None

    def remember(self, state: State) -> None:
        """Write down what the next command has to know; it survives a power cut."""
        with self.writing(STATE) as file:
            file.write(json.dumps(state, indent=2).encode())
            file.flush()
            os.fsync(file.fileno())
        # A file system may be one that takes no case: that is seen once there is a file.
        self._minds_case = not (self.path / STATE.upper()).exists()

    def forget(self) -> None:
        """Belong to no batch any more."""
        (self.path / STATE).unlink(missing_ok=True)

    @property
    def is_bare(self) -> bool:
        """Whether there is nothing in it, hidden files aside."""
        return all(path.name.startswith(".") for path in self.path.iterdir())

    def image(self, custom_id: str, index: int, extension: str) -> str:
        """The name of a line's image. Two lines never get the same."""
        return f"{safe_name(custom_id, self._minds_case)}-{index}{extension}"

    def has(self, name: str, image: Image) -> bool:
        """Whether an image is here, as it was stored."""
        try:
            with (self.path / name).open("rb") as file:
                is_long_enough = os.fstat(file.fileno()).st_size == image["bytes"]
                return is_long_enough and file_digest(file, "sha256").hexdigest() == image["sha256"]
        except FileNotFoundError:
            return False
        except OSError as error:
            raise CommandError(f"{self.path / name} cannot be read ({error.strerror}).") from None

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file that appears under its name once it is complete."""
        unfinished = self.path / f".{name}.{threading.get_native_id()}{UNFINISHED}"
        try:
            with unfinished.open("w+b") as file:
                yield file
            unfinished.replace(self.path / name)
        except OSError as error:
            raise CommandError(f"{self.path / name} cannot be written ({error.strerror}).") from None
        finally:
            unfinished.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a command that was killed left unfinished."""
        for path in self.path.glob(f".*{UNFINISHED}"):
            path.unlink(missing_ok=True)


@contextmanager
def held(path: Path) -> Iterator[OutputDirectory]:
    """Make a directory if there is none, and hold it. Raises CommandError if another command holds it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a")
    except OSError as error:
        raise CommandError(f"{path} is no directory to write to ({error.strerror}).") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"Another `safelight batch` is writing to {path}.") from None
        directory = OutputDirectory(path)
        directory.tidy()
        yield directory


def safe_name(custom_id: str, minds_case: bool = True) -> str:
    """A custom_id as part of a file's name: itself where it can be, else what can be kept of it and its hash.

    `~` marks a hash and is in no name without one, so that no two ids share a name.
    """
    kept = re.sub(r"[^\w.+=@,-]", "_", unicodedata.normalize("NFC", custom_id))[:MAX_NAME_CHARS].lstrip(".-")
    is_itself = kept == custom_id != "" and len(kept.encode()) <= MAX_NAME_CHARS
    if is_itself and (minds_case or kept == kept.casefold()):
        return kept
    shortened = kept.encode()[:MAX_NAME_CHARS].decode(errors="ignore")
    return f"{shortened}~{sha256(custom_id.encode(errors='surrogatepass')).hexdigest()[:16]}"
