"""The system account of Postgres if Safelight runs as root: Postgres does not run as root.

For another user, `get_account` is None. For root, the account is created once. A parent folder without access for
others (`/root`) gets the permission to pass through, not to list, and only for its own group. Postgres runs with that
group, so nobody else gets access.
"""

import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from cli.errors import CommandError

NAME = "safelight"


@dataclass(frozen=True, slots=True)
class Account:
    """User id, group id and supplementary groups of a server."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def get_account() -> Account | None:
    """The account for Postgres; None if this user can run it. Raises CommandError if it cannot be created."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        _create()
        entry = pwd.getpwnam(NAME)
    return Account(entry.pw_uid, entry.pw_gid)


def grant_access(account: Account, *paths: Path) -> Account:
    """Allow the account to pass through the parents of the paths; returns the account with the necessary groups."""
    groups = set(account.groups)
    for folder in {folder for path in paths for folder in path.resolve().parents}:
        status = folder.stat()
        if status.st_mode & stat.S_IXOTH or status.st_uid == account.uid:
            continue
        if not status.st_mode & stat.S_IXGRP:
            folder.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXGRP)
        groups.add(status.st_gid)
    return replace(account, groups=tuple(sorted(groups)))


def make_readable(folder: Path) -> None:
    """Make an installed package readable for everybody; with a umask of 077 it is readable only for root."""
    if folder.stat().st_mode & stat.S_IXOTH:
        return
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        execute = stat.S_IXGRP | stat.S_IXOTH if mode & stat.S_IXUSR else 0
        path.chmod(mode | stat.S_IRGRP | stat.S_IROTH | execute)


def _create() -> None:
    useradd = shutil.which("useradd") or "/usr/sbin/useradd"
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false"]
    try:
        subprocess.run([useradd, *options, NAME], check=True, capture_output=True, text=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.CalledProcessError) as error:
        reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise CommandError(
            f"Postgres must not run as root, and the account {NAME!r} for it could not be created ({reason}): "
            "run Safelight as another user, or set SAFELIGHT_DATABASE_URL to your own Postgres."
        ) from error
