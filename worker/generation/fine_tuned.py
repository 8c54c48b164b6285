"""Copies the LoRAs of fine-tuned models from storage to a worker's disk, before a job needs them.

A copy is checked by its checksum when it is made and when this process first uses it. The copies together are bounded,
and none stays that was not used for a day.
"""

import hashlib
import logging
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from core.errors import NotFound, StorageUnavailable
from core.fine_tuning import queries
from core.fine_tuning.rows import FineTunedModelRow
from core.generation_errors import InputUnavailable, StorageFailed
from core.model_files.fine_tuned import file_name, fine_tuned_directory
from core.parameters.loras import is_fine_tuned
from core.rows.job import JobRow
from worker.generation.context import Context

log = logging.getLogger(__name__)

MAX_IDLE_SECONDS = 86_400.0
IN_USE_SECONDS = 600.0
"""A copy that was used so recently may be about to be loaded, and stays."""

_CHECKED_NAMES: set[str] = set()
"""Names of copies whose checksum this process has seen."""


def fetch(context: Context, job: JobRow) -> None:
    """Have the LoRAs of a job on this disk. Raises InputUnavailable for one that its project does not have."""
    names = [lora.name for lora in job.parameters.loras or () if is_fine_tuned(lora.name)]
    if not names:
        return
    rows = {row.id: row for row in context.database.execute(queries.get_models(job.project_id, names))}
    directory = fine_tuned_directory(context.settings)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in names:
        if name not in rows:
            raise InputUnavailable(f"The fine-tuned model {name} was deleted.")
        _fetch(context, rows[name], directory / file_name(name))
    _delete_unused(directory, context.settings.fine_tuned_cache)


def _fetch(context: Context, row: FineTunedModelRow, path: Path) -> None:
    if (path.name in _CHECKED_NAMES and path.is_file()) or _sha256(path) == row.sha256:
        _CHECKED_NAMES.add(path.name)
        os.utime(path)
        return
    draft = path.with_suffix(f".{uuid4().hex}.part")  # threads, and processes of several containers, share the folder
    try:
        content = context.storage.get(row.storage_key)
    except NotFound:
        raise InputUnavailable(f"The fine-tuned model {row.id} was deleted.") from None
    except StorageUnavailable:
        raise StorageFailed(f"The fine-tuned model {row.id} could not be read: the storage does not answer.") from None
    if hashlib.sha256(content).hexdigest() != row.sha256:
        raise InputUnavailable(f"The fine-tuned model {row.id} is damaged in storage: its checksum differs.")
    draft.write_bytes(content)
    os.replace(draft, path)
    _CHECKED_NAMES.add(path.name)
    log.info("the LoRA of %s was copied: %d bytes", row.id, row.bytes)


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None


def _delete_unused(directory: Path, limit: int) -> None:
    """Delete the copies that were not used for the longest time, until the others fit."""
    now = time.time()
    copies = sorted(_list(directory), reverse=True)
    total = 0
    for modified_at, size, path in copies:
        total += size
        idle = now - modified_at
        if idle > MAX_IDLE_SECONDS or (total > limit and idle > IN_USE_SECONDS):
            total -= size
            path.unlink(missing_ok=True)


def _list(directory: Path) -> Iterator[tuple[float, int, Path]]:
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            status = path.stat()
            yield status.st_mtime, status.st_size, path
