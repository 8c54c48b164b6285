"""The catalogue of a running process, which follows its file: a change takes effect without a restart.

A changed file that is not valid changes nothing: the process keeps the catalogue that it has, and logs the reason.
"""

import logging
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from core.catalog import Catalog, CatalogError, load_catalog
from core.model_files.control_networks import class_of_folder
from core.settings import Settings

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""How often the file is looked at."""


def replace_catalog(path: Path, text: str) -> None:
    """Write a catalogue file in one step, as processes read it at any time. It keeps its owner and its mode.

    Raises OSError; the file is then as it was.
    """
    path = path.resolve()  # a symbolic link stays one
    status = path.stat()
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".catalog-", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            with suppress(PermissionError):  # only root may change the owner
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.fchmod(file.fileno(), status.st_mode & 0o777)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


class CatalogFile:
    """The catalogue in `catalog_path`. Any thread may ask for it."""

    def __init__(self, settings: Settings, *, only_available: bool = True) -> None:
        """Read the file. only_available: without the models whose setting is missing. Raises CatalogError."""
        self._settings = settings
        self._only_available = only_available
        self._lock = threading.Lock()
        self._version = self._read_version()
        self._catalog = self._read()
        self._next_check = time.monotonic() + CHECK_SECONDS
        self._is_expired = False

    def current(self) -> Catalog:
        """The catalogue. Reads the file again if it has changed, or if `expire` was called."""
        if (self._is_expired or time.monotonic() >= self._next_check) and self._lock.acquire(blocking=False):
            try:
                self._refresh()
            finally:
                self._lock.release()
        return self._catalog

    def expire(self) -> None:
        """Have the file read again, changed or not. Safe in a signal handler."""
        self._is_expired = True

    def read_again(self) -> None:
        """Read the file now, changed or not."""
        self.expire()
        self.current()

    def _refresh(self) -> None:
        is_expired, self._is_expired = self._is_expired, False
        self._next_check = time.monotonic() + CHECK_SECONDS
        version = self._read_version()
        if version == self._version and not is_expired:
            return
        self._version = version
        try:
            self._catalog = self._read()
        except (CatalogError, OSError) as error:
            log.error("the changed catalogue is not used, the one before stays: %s", error)
        else:
            log.info("the catalogue was read again: %d models", len(self._catalog.models))

    def _read(self) -> Catalog:
        catalog = load_catalog(self._settings.catalog_path)
        catalog = catalog.with_networks(lambda source: class_of_folder(self._settings.models_dir / source))
        return catalog.available(self._settings) if self._only_available else catalog

    def _read_version(self) -> tuple[int, int, int] | None:
        """What differs after a change of the file. None: there is none at this moment, as while it is replaced."""
        try:
            status = self._settings.catalog_path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
