"""The way to Postgres: one asynchronous `AsyncDatabase` for the API, one synchronous `Database` for the worker.

Both run the same statements, built by `core.jobs` and its neighbours. A lone statement is its own transaction and one
round trip (autocommit); several that belong together go through `transaction()`. No transaction is held while a device
computes. Whatever says that Postgres is away is in `UNAVAILABLE`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.sql import Composed
from sqlalchemy import event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from core.settings import Settings

UNAVAILABLE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)
"""What SQLAlchemy raises when Postgres refuses, hangs or goes away in mid-statement, or the pool is used up."""

Statement = sa.Executable
Rows = Sequence[sa.Row[Any]]


class Database:
    """Postgres for synchronous code. Safe to share between threads."""

    def __init__(self, settings: Settings, name: str = "safelight-worker") -> None:
        self.engine = sa.create_engine(_url(settings), **_options(settings, name))
        _ping_after_idling(self.engine)
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    def execute(self, statement: Statement) -> Rows:
        """Run one statement as its own transaction and return its rows."""
        with self._autocommit.connect() as connection:
            result = connection.execute(statement)
            return result.all() if result.returns_rows else []

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """Run several statements as one; commits at the end, rolls back on an exception."""
        with self.engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def copy(connection: sa.Connection, statement: Composed, chunks: Iterable[bytes]) -> None:
    """Run a COPY FROM STDIN as part of a transaction."""
    driver: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
    with driver.cursor() as cursor, cursor.copy(statement) as into:
        for chunk in chunks:
            into.write(chunk)


async def copy_async(connection: AsyncConnection, statement: Composed, chunks: Iterable[bytes]) -> None:
    """`copy` for asynchronous code; others get their turn between chunks."""
    raw = await connection.get_raw_connection()
    driver: psycopg.AsyncConnection[Any] = raw.driver_connection  # type: ignore[assignment]  # psycopg's
    async with driver.cursor() as cursor, cursor.copy(statement) as into:
        for chunk in chunks:
            await into.write(chunk)
            await asyncio.sleep(0)  # write() gives nobody else a turn while libpq's buffer takes what it is given


class AsyncDatabase:
    """Postgres for asynchronous code."""

    def __init__(self, settings: Settings, name: str = "safelight-api") -> None:
        self.engine = create_async_engine(_url(settings), **_options(settings, name))
        _ping_after_idling(self.engine.sync_engine)
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")

    async def execute(self, statement: Statement) -> Rows:
        """Run one statement as its own transaction and return its rows."""
        async with self._autocommit.connect() as connection:
            result = await connection.execute(statement)
            return result.all() if result.returns_rows else []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """Run several statements as one; commits at the end, rolls back on an exception."""
        async with self.engine.begin() as connection:
            yield connection

    async def close(self) -> None:
        """Close the pooled connections."""
        await self.engine.dispose()


def _url(settings: Settings) -> sa.URL:
    """The database's URL, with psycopg 3 as its driver."""
    if settings.database_url is None:
        raise ValueError("SAFELIGHT_DATABASE_URL is not set; `safelight up` starts an embedded Postgres and sets it.")
    return sa.make_url(settings.database_url).set(drivername="postgresql+psycopg")


def _options(settings: Settings, name: str) -> dict[str, Any]:
    milliseconds = settings.statement_timeout // timedelta(milliseconds=1)
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": 0,
        "pool_timeout": 5,
        "connect_args": {
            "connect_timeout": 3,
            "application_name": name,
            "options": f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout=60000",
            "keepalives_idle": 15,
        },
    }


def _ping_after_idling(engine: sa.Engine, idle: float = 1.0) -> None:
    """Test a pooled connection that lay idle for a second before it is used: a restart of Postgres costs no error.

    SQLAlchemy's `pool_pre_ping` would pay a round trip each time; under load no connection lies idle that long.
    """

    @event.listens_for(engine, "checkin")
    def store(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < idle:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise exc.DisconnectionError from error
