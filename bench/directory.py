"""The directory of a benchmark: empty at first, and gone afterwards."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def own_directory() -> Iterator[Path]:
    """A new directory in the `with` block."""
    directory = Path(tempfile.mkdtemp(prefix="safelight-bench-"))
    directory.chmod(0o755)  # the embedded Postgres may run as another user
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
