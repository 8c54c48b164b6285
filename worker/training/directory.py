"""The directory of a training worker's temporary files: on the disk of data_dir, as /tmp may be memory."""

import shutil
import time
from contextlib import suppress
from pathlib import Path

from core.settings import Settings

MAX_IDLE_SECONDS = 86_400.0
"""A training uses its directory whenever it stores its state."""


def training_directory(settings: Settings) -> Path:
    """The directory, which exists then. Several workers may share it."""
    directory = settings.data_dir / "training"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def delete_old(directory: Path) -> None:
    """Delete what workers left that were killed."""
    before = time.time() - MAX_IDLE_SECONDS
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                shutil.rmtree(path, ignore_errors=True)
