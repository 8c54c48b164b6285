"""Where large temporary files are: data_dir/uploads, not /tmp, which is often memory.

They are files of forms, and copies of the input files of batches. They have no name (O_TMPFILE), so nothing is left of
an upload that breaks off, or of a process that is killed.
"""

import logging
import tempfile
import time
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

STALE_SECONDS = 3600.0
"""Age from which a file that has a name is left over: on a file system without O_TMPFILE, after a kill."""


def use_directory(data_dir: Path) -> None:
    """Let this process write its temporary files under data_dir, and delete what is left there."""
    directory = data_dir / "uploads"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        log.warning(
            "temporary files go to %s: %s cannot be written (%s)", tempfile.gettempdir(), directory, error.strerror
        )
        return
    for path in directory.iterdir():
        with suppress(OSError):  # another process may delete it too
            if path.is_file() and time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
    tempfile.tempdir = str(directory.absolute())
