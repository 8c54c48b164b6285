"""Runs the revisions on a connection of their own: one transaction each, and never in two processes at once.

No statement has a time limit here, but a wait for a lock has one: a statement that waits for a table holds up all
statements that come to the table after it. A revision that does not get its lock is rolled back, and tried again in a
new transaction after a pause, in which the sessions that waited get their turn.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import psycopg.errors
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from core.settings import Settings
from migrations import grants

LOCK = 7305512
"""Advisory lock that the migrating session holds; an arbitrary constant of ours."""

LOCK_POLL = timedelta(seconds=1)
"""How often that lock is tried. It must not be waited for in a statement: an index that is built concurrently waits for
every statement that runs, and the two would wait for each other."""

Say = Callable[[str], object]


def _print(line: str) -> None:
    print(line, flush=True)


class MigrationError(Exception):
    """A revision could not be applied. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often a revision tries to lock a table."""

    lock_timeout: timedelta = timedelta(seconds=5)  # well below the API's statement_timeout
    attempts: int = 20
    pause: timedelta = timedelta(seconds=2)


def upgrade(
    revision: str = "head",
    *,
    database_url: str | None = None,
    application_url: str | None = None,
    patience: Patience | None = None,
    say: Say = _print,
) -> None:
    """Bring a database, by default that of SAFELIGHT_MIGRATIONS_DATABASE_URL, to a revision. Raises MigrationError.

    application_url: what the application connects with, by default SAFELIGHT_DATABASE_URL. If that is another role, it
    gets the rights that it needs (`migrations/grants.py`).

    Several processes may do so at once: one migrates, the others wait, and then have nothing to do.
    """
    patience = patience or Patience()
    if database_url is None:
        settings = Settings()
        database_url = settings.migrations_database_url or settings.database_url
        application_url = settings.database_url
    with connected(database_url, patience) as connection, _migration_lock(connection, say):
        config = _config(connection=connection, say=say)
        for attempt in range(1, patience.attempts + 1):
            try:
                command.upgrade(config, revision)
            except sa.exc.OperationalError as error:
                # A deadlock is a lock that is not to be had, too: Postgres ends the one of the two that noticed it.
                if not isinstance(error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
                    raise
                connection.rollback()
                seconds = patience.lock_timeout.total_seconds()
                progress = f"(attempt {attempt} of {patience.attempts})"
                say(f"A table that is to be changed was in use for {seconds:g} s {progress}.")
            else:
                if application_url is not None:
                    grants.grant(connection, application_url)
                return
            time.sleep(patience.pause.total_seconds())  # what queued behind our request for the lock runs meanwhile
    raise MigrationError(
        f"Other sessions kept a table locked through {patience.attempts} attempts of "
        f"{patience.lock_timeout.total_seconds():g} s. The revisions before it are applied, and it has changed "
        "nothing: run `safelight migrate` again when the table is less busy."
    )


def newest() -> str | None:
    """The revision that this code wants."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config(**attributes: object) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes.update(attributes)
    return config


@contextmanager
def connected(database_url: str | None, patience: Patience) -> Iterator[sa.Connection]:
    """A connection of its own, not of a pool, with the limits that revisions run under."""
    if database_url is None:
        raise ValueError("SAFELIGHT_DATABASE_URL is not set; `safelight up` starts an embedded Postgres and sets it.")
    milliseconds = patience.lock_timeout // timedelta(milliseconds=1)
    settings = {"statement_timeout": 0, "idle_in_transaction_session_timeout": 0, "lock_timeout": milliseconds}
    engine = sa.create_engine(
        sa.make_url(database_url).set(drivername="postgresql+psycopg"),
        poolclass=sa.NullPool,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 3,
            "application_name": "safelight-migrate",
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            "keepalives_idle": 15,
        },
    )
    with engine.connect() as connection:
        yield connection


@contextmanager
def _migration_lock(connection: sa.Connection, say: Say) -> Iterator[None]:
    """Hold the lock of who migrates: for the session, as it must outlive the revisions' transactions."""
    attempt = 0
    while not connection.execute(sa.select(sa.func.pg_try_advisory_lock(LOCK))).scalar():
        connection.rollback()  # no open transaction while the other may build an index concurrently
        if attempt % 30 == 0:
            say("Another process is migrating this database; waiting for it.")
        attempt += 1
        # A blocking pg_advisory_lock would keep its snapshot, for which CREATE INDEX CONCURRENTLY waits: a deadlock.
        time.sleep(LOCK_POLL.total_seconds())
    connection.commit()
    yield  # the lock goes with the connection, which is closed next
