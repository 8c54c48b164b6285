"""The system account that Postgres runs under where Safelight runs as root; Postgres refuses to be root.

As an ordinary user there is nothing to do and `server_account` is None. As root the account is made once. Folders on
the way that are closed to others (`/root`) are opened to pass through, not to list, and only for their own group,
which the server joins: nobody else gains anything.
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
    """Who a server runs as: user id, group id, further groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def server_account() -> Account | None:
    """The account for Postgres: None (ourselves) unless we are root. Raises CommandError when none can be made."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        _make()
        entry = pwd.getpwnam(NAME)
    return Account(entry.pw_uid, entry.pw_gid)


def may_reach(account: Account, *paths: Path) -> Account:
    """Let the account pass through the folders above the given ones; returns it with the groups it needs for that."""
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
    """Let everybody read an installed package, where a strict umask (077) has installed it for root alone."""
    if folder.stat().st_mode & stat.S_IXOTH:
        return
    for path in (folder, *folder.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        runs = stat.S_IXGRP | stat.S_IXOTH if mode & stat.S_IXUSR else 0
        path.chmod(mode | stat.S_IRGRP | stat.S_IROTH | runs)


def _make() -> None:
    useradd = shutil.which("useradd") or "/usr/sbin/useradd"
    options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/bin/false"]
    try:
        subprocess.run([useradd, *options, NAME], check=True, capture_output=True, text=True)  # noqa: S603 - fixed words
    except (OSError, subprocess.CalledProcessError) as error:
        reason = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise CommandError(
            f"Postgres must not run as root, and the account {NAME!r} for it could not be made ({reason}): "
            "run Safelight as an ordinary user, or set SAFELIGHT_DATABASE_URL to a Postgres of your own."
        ) from error
