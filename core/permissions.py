"""File permissions: what Safelight writes is for its own account only.

Images, spools, logs and keys are private. The umask is a setting of the whole process, so only entry points set it.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

UMASK = 0o077
_FOREIGN_BITS = stat.S_IRWXO | stat.S_IRGRP | stat.S_IWGRP


def make_private(data_dir: Path | None = None) -> None:
    """Let this process and its children write files with mode 0600 and directories with 0700.

    data_dir: a directory that earlier versions may have left readable to others. Its group may still pass through: the
    account of an embedded Postgres does. A directory that belongs to another account stays as it is.
    """
    os.umask(UMASK)
    if data_dir is None:
        return
    for directory in (data_dir, data_dir / "images", data_dir / "logs"):
        with suppress(OSError):
            mode = stat.S_IMODE(directory.stat().st_mode)
            if mode & _FOREIGN_BITS:
                directory.chmod(mode & ~_FOREIGN_BITS)
