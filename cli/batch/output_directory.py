"""The output directory of a batch: its images, and a state file with the id of the batch.

Each file is written under a temporary name and then renamed, so a process that dies leaves no partial file under a
final name. Only one command at a time can use a directory.
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

from cli.errors import CommandError
from core.batches.image_names import image_stem, is_reserved
from safelight_client import Image

STATE = ".safelight-batch.json"
LOCK = ".safelight-batch.lock"
TEMPORARY_SUFFIX = ".unfinished"

MAX_NAME_CHARS = 100
"""Maximum length of the custom_id in a file name; file systems allow 255 bytes for the name."""


class State(TypedDict):
    """What a command needs to resume. It is saved before each request that must not be repeated."""

    fingerprint: str  # of the input and the options
    idempotency_key: str
    request: dict[str, Any]  # of the batch, without the file's id
    file_id: str | None
    batches: list[str]  # the batch and its retries, in order


class OutputDirectory:
    """An output directory that is locked by this command."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._is_case_sensitive = not (path / STATE.upper()).exists()

    @property
    def command(self) -> str:
        """The shell command that resumes the batch."""
        return f"safelight batch --out {shlex.quote(str(self.path))}"

    @property
    def state(self) -> State | None:
        """The saved state; None if there is none. Raises CommandError if it is damaged."""
        try:
            return cast(State, json.loads((self.path / STATE).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError):
            raise CommandError(
                f"{self.path / STATE} cannot be read: --new starts a new batch in this directory."
            ) from None

    def save_state(self, state: State) -> None:
        """Save the state durably (fsync)."""
        with self.open_file(STATE) as file:
            file.write(json.dumps(state, indent=2).encode())
            file.flush()
            os.fsync(file.fileno())
        # Whether the file system is case-sensitive is known only when a file exists.
        self._is_case_sensitive = not (self.path / STATE.upper()).exists()

    def delete_state(self) -> None:
        """Delete the state: the directory belongs to no batch."""
        (self.path / STATE).unlink(missing_ok=True)

    @property
    def is_empty(self) -> bool:
        """Whether there are no files except hidden ones."""
        return all(path.name.startswith(".") for path in self.path.iterdir())

    def image_name(self, custom_id: str, prompt: str | None, index: int, extension: str) -> str:
        """The file name of a line's image. Different lines have different names."""
        stem = image_stem(custom_id, prompt) or safe_name(custom_id, case_sensitive=self._is_case_sensitive)
        return f"{stem}-{index}{extension}"

    def rename_image(self, custom_id: str, name: str, image: Image, extension: str) -> bool:
        """Rename an image that an earlier version downloaded under its name. Returns whether there was one."""
        old_name = f"{safe_name(custom_id, case_sensitive=self._is_case_sensitive)}-{image.index}{extension}"
        if old_name == name or not self.has(old_name, image):
            return False
        (self.path / old_name).replace(self.path / name)
        return True

    def has(self, name: str, image: Image) -> bool:
        """Whether an image is in the directory and intact."""
        try:
            with (self.path / name).open("rb") as file:
                has_size = os.fstat(file.fileno()).st_size == image.bytes
                return has_size and file_digest(file, "sha256").hexdigest() == image.sha256
        except FileNotFoundError:
            return False
        except OSError as error:
            raise CommandError(f"{self.path / name} cannot be read ({error.strerror}).") from None

    @contextmanager
    def open_file(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for writing. It gets its name when it is complete."""
        temporary = self.path / f".{name}.{threading.get_native_id()}{TEMPORARY_SUFFIX}"
        try:
            with temporary.open("w+b") as file:
                yield file
            temporary.replace(self.path / name)
        except OSError as error:
            raise CommandError(f"{self.path / name} cannot be written ({error.strerror}).") from None
        finally:
            temporary.unlink(missing_ok=True)

    def delete_temporary_files(self) -> None:
        """Delete the temporary files of a command that was killed."""
        for path in self.path.glob(f".*{TEMPORARY_SUFFIX}"):
            path.unlink(missing_ok=True)


@contextmanager
def open_output_directory(path: Path) -> Iterator[OutputDirectory]:
    """Create a directory if it does not exist, and lock it. Raises CommandError if another command has the lock."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a")
    except OSError as error:
        raise CommandError(f"{path} is not a writable directory ({error.strerror}).") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(f"Another `safelight batch` is writing to {path}.") from None
        directory = OutputDirectory(path)
        directory.delete_temporary_files()
        yield directory


def safe_name(custom_id: str, *, case_sensitive: bool = True) -> str:
    """A custom_id for a file name: unchanged if it is safe, else its safe characters and its hash.

    `~` starts the hash and is not a safe character, so different ids have different names.
    """
    name = re.sub(r"[^\w.+=@,-]", "_", unicodedata.normalize("NFC", custom_id))[:MAX_NAME_CHARS].lstrip(".-")
    is_unchanged = name == custom_id != "" and len(name.encode()) <= MAX_NAME_CHARS and not is_reserved(name)
    if is_unchanged and (case_sensitive or name == name.casefold()):
        return name
    prefix = name.encode()[:MAX_NAME_CHARS].decode(errors="ignore")
    return f"{prefix}~{sha256(custom_id.encode(errors='surrogatepass')).hexdigest()[:16]}"
