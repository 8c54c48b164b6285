"""Locks that one process at a time holds among all that share a database.

A `SessionLock` is an advisory lock of a connection of its own, which runs no transaction. It ends with the connection:
a process that dies gives it up at once. Postgres closes the connection of a process that is frozen or cut off.
"""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy import exc

from core.db import connect_args, database_url
from core.settings import Settings

KEEPALIVE = "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
"""Makes Postgres notice within 20 s that the other machine is gone; its own default is two hours."""


class SessionLock:
    """One lock. For one thread.

    idle: Postgres takes the lock away when `acquire` was not called for so long.
    """

    def __init__(self, settings: Settings, name: str, *, idle: timedelta, application: str) -> None:
        arguments = connect_args(settings, application)
        arguments["options"] += f" {KEEPALIVE} -c idle_session_timeout={idle // timedelta(milliseconds=1)}"
        self._engine = sa.create_engine(
            database_url(settings),
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args=arguments,
            hide_parameters=True,
        )
        self._statement = sa.select(sa.func.pg_try_advisory_lock(sa.func.hashtextextended(name, 0)))
        self._connection: sa.Connection | None = None

    def acquire(self) -> bool:
        """Whether this process holds the lock now. Takes it if it is free; a lost connection is replaced.

        Raises the errors of SQLAlchemy while the database is away.
        """
        if self._connection is not None:
            try:
                return self._try(self._connection)
            except exc.DBAPIError:
                self.close()
        self._connection = self._engine.connect()
        return self._try(self._connection)

    def _try(self, connection: sa.Connection) -> bool:
        # A session that holds the lock gets it again, so the statement also checks the connection.
        return bool(connection.execute(self._statement).scalar_one())

    def close(self) -> None:
        """Give the lock up."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
