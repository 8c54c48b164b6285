"""Access to Postgres: the asynchronous `AsyncDatabase` for the API, the synchronous `Database` for workers.

Both run the same statements. `core.jobs` and its neighbours build them as a `Statement`, which knows the type of its
rows (`core/rows/job.py`). A single statement is its own transaction and one round trip (autocommit). Several statements
that belong together run in a `transaction()`. No transaction is open while a device computes. `UNAVAILABLE` holds the
errors that are raised when Postgres does not answer or interrupts a statement.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from operator import itemgetter
from typing import Any, Generic, TypeVar, cast, overload

import psycopg
import sqlalchemy as sa
from psycopg.sql import Composed
from pydantic_core import from_json
from sqlalchemy import event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from core.settings import Settings
from core.statement_text import text_of
from core.tables import KEYS, projects

UNAVAILABLE = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)
"""What SQLAlchemy raises when Postgres refuses, hangs, shuts down or breaks a connection, or the pool is used up.

Every error that breaks the connection becomes one of these (`_translate_errors`), and so does a statement timeout.
"""

ConstraintViolation = exc.IntegrityError
"""A unique or foreign key constraint refuses a row."""


def is_statement_timeout(error: BaseException) -> bool:
    """Whether Postgres cancelled a statement, as it ran longer than `statement_timeout`."""
    return isinstance(error, exc.DBAPIError) and isinstance(error.orig, psycopg.errors.QueryCanceled)


def is_lock_timeout(error: BaseException) -> bool:
    """Whether a statement waited for a lock longer than `lock_timeout`."""
    return isinstance(error, exc.DBAPIError) and isinstance(error.orig, psycopg.errors.LockNotAvailable)


DATABASE_ERROR = exc.SQLAlchemyError
"""What all errors of SQLAlchemy are, also those of a URL or a statement that is wrong."""

RowT = TypeVar("RowT")


@dataclass(frozen=True, slots=True)
class Statement(Generic[RowT]):
    """A statement, and the type of the rows that it returns: a class of `core/rows/job.py`, or `str` for one column.

    values: of its parameters, if `sql` is built once for all calls. Then its text is made once, too
    (`core/statement_text.py`), and the driver runs it. complete: makes a row from the columns by name, if the statement
    does not return all that the row has.
    """

    sql: sa.Executable
    row: type[RowT]
    values: Mapping[str, Any] | None = None
    complete: Callable[[Mapping[str, Any]], RowT] | None = None


def without_flush(statement: sa.Select[Any]) -> sa.Select[Any]:
    """A statement whose commit does not wait for the disk: if Postgres crashes within a second, it may not have been.

    The setting holds until the transaction ends, so such a statement is executed by itself. Any later commit that waits
    for the disk makes this one durable, too.
    """
    setting = sa.select(sa.func.set_config("synchronous_commit", "off", sa.true())).scalar_subquery()
    return statement.where(setting == "off")


_SCALARS = (str, int, float, datetime)


def _rows(statement: Statement[RowT], result: sa.Result[Any]) -> list[RowT]:
    if statement.row in _SCALARS:
        return list(result.scalars())
    return _rows_of(statement, tuple(result.keys()), result)


def _rows_of(statement: Statement[RowT], columns: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> list[RowT]:
    if (complete := statement.complete) is not None:
        return [complete(dict(zip(columns, row, strict=True))) for row in rows]
    make: Any = statement.row
    pick = _reader(make, columns)
    return [make(*pick(row)) for row in rows]


def _rows_of_cursor(
    statement: Statement[RowT], cursor: psycopg.RawCursor[Any] | psycopg.AsyncRawCursor[Any], rows: list[Any]
) -> list[RowT]:
    if statement.row in _SCALARS:
        return [value for (value,) in rows]
    return _rows_of(statement, tuple(column.name for column in cursor.description or ()), rows)


@cache
def _reader(row: Any, columns: tuple[str, ...]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Puts the columns of a statement into the order of a row's fields. Raises TypeError where the names differ."""
    columns = tuple(KEYS.get(name, name) for name in columns)
    names = [field.name for field in fields(row)]
    required = {field.name for field in fields(row) if field.default is MISSING}
    unknown, missing = set(columns) - set(names), required - set(columns)
    if unknown or missing:
        raise TypeError(f"{row.__name__} has no {sorted(unknown)}, and the statement has no {sorted(missing)}")
    present = [name for name in names if name in columns]
    if present != names[: len(present)]:
        raise TypeError(f"{row.__name__}: a statement may leave out the last of the optional columns only")
    positions = [columns.index(name) for name in present]
    return tuple if positions == list(range(len(columns))) else itemgetter(*positions)


def _raw(statement: Statement[Any] | sa.Executable) -> sa.Executable:
    return statement.sql if isinstance(statement, Statement) else statement


@contextmanager
def _as_sqlalchemy_errors(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> Iterator[None]:
    """Raise errors of the driver as SQLAlchemy's: the driver itself runs COPY, and statements with `values`."""
    try:
        yield
    except psycopg.Error as error:
        _remove_values(error)
        if connection.closed:
            raise exc.OperationalError(None, None, error, connection_invalidated=True) from error
        raise exc.DBAPIError.instance(None, None, error, psycopg.Error) from error


class Transaction:
    """Statements that commit together."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection = connection

    @overload
    def execute(self, statement: Statement[RowT]) -> list[RowT]: ...
    @overload
    def execute(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]: ...
    def execute(self, statement: Any) -> Any:
        """Run a statement and return its rows."""
        if isinstance(statement, Statement) and statement.values is not None:
            return self._execute_text(statement, statement.values)
        result = self.connection.execute(_raw(statement))
        if isinstance(statement, Statement):
            return _rows(statement, result)
        return result.all() if result.returns_rows else []

    def _execute_text(self, statement: Statement[RowT], values: Mapping[str, Any]) -> list[RowT]:
        driver: psycopg.Connection[Any] = self.connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
        text, parameters = text_of(statement.sql).bind(values)
        try:
            with _as_sqlalchemy_errors(driver), psycopg.RawCursor(driver) as cursor:
                rows = cursor.execute(text, parameters, prepare=True).fetchall()
                return _rows_of_cursor(statement, cursor, rows)
        except exc.DBAPIError as error:
            if error.connection_invalidated:
                self.connection.invalidate()
            raise

    def rollback(self) -> None:
        """Undo all statements so far."""
        self.connection.rollback()

    def copy(self, statement: Composed, chunks: Iterable[bytes]) -> None:
        """Run a COPY FROM STDIN."""
        driver: psycopg.Connection[Any] = self.connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
        with _as_sqlalchemy_errors(driver), driver.cursor() as cursor, cursor.copy(statement) as into:
            for chunk in chunks:
                into.write(chunk)


class AsyncTransaction:
    """`Transaction` for asynchronous code."""

    def __init__(self, connection: AsyncConnection) -> None:
        self.connection = connection

    @overload
    async def execute(self, statement: Statement[RowT]) -> list[RowT]: ...
    @overload
    async def execute(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]: ...
    async def execute(self, statement: Any) -> Any:
        """Run a statement and return its rows."""
        if isinstance(statement, Statement) and statement.values is not None:
            return await self._execute_text(statement, statement.values)
        result = await self.connection.execute(_raw(statement))
        if isinstance(statement, Statement):
            return _rows(statement, result)
        return result.all() if result.returns_rows else []

    async def _execute_text(self, statement: Statement[RowT], values: Mapping[str, Any]) -> list[RowT]:
        raw = await self.connection.get_raw_connection()
        driver: psycopg.AsyncConnection[Any] = raw.driver_connection  # type: ignore[assignment]  # psycopg's
        text, parameters = text_of(statement.sql).bind(values)
        try:
            with _as_sqlalchemy_errors(driver):
                cursor = psycopg.AsyncRawCursor(driver)
                await cursor.execute(text, parameters, prepare=True)
                rows = await cursor.fetchall()
                return _rows_of_cursor(statement, cursor, rows)
        except exc.DBAPIError as error:
            if error.connection_invalidated:
                await self.connection.invalidate()
            raise

    async def rollback(self) -> None:
        """Undo all statements so far."""
        await self.connection.rollback()

    async def copy(self, statement: Composed, chunks: Iterable[bytes]) -> None:
        """Run a COPY FROM STDIN; other tasks run between the chunks."""
        raw = await self.connection.get_raw_connection()
        driver: psycopg.AsyncConnection[Any] = raw.driver_connection  # type: ignore[assignment]  # psycopg's
        with _as_sqlalchemy_errors(driver):
            async with driver.cursor() as cursor, cursor.copy(statement) as into:
                for chunk in chunks:
                    await into.write(chunk)
                    await asyncio.sleep(0)  # write() does not yield while libpq's buffer takes all that it gets


class Database:
    """Postgres for synchronous code. Safe to share between threads."""

    def __init__(self, settings: Settings, name: str = "safelight-worker") -> None:
        self._autocommit = sa.create_engine(database_url(settings), **_options(settings, name))
        _translate_errors(self._autocommit)
        _ping_after_idling(self._autocommit)
        self.engine = self._autocommit.execution_options(isolation_level="READ COMMITTED")

    @overload
    def execute(self, statement: Statement[RowT]) -> list[RowT]: ...
    @overload
    def execute(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]: ...
    def execute(self, statement: Any) -> Any:
        """Run one statement as its own transaction and return its rows."""
        with self._autocommit.connect() as connection:
            return Transaction(connection).execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Run several statements as one; commits at the end, rolls back on an exception."""
        with self.engine.begin() as connection:
            yield Transaction(connection)

    def close(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


class AsyncDatabase:
    """Postgres for asynchronous code."""

    def __init__(self, settings: Settings, name: str = "safelight-api") -> None:
        self._autocommit = create_async_engine(database_url(settings), **_options(settings, name))
        _translate_errors(self._autocommit.sync_engine)
        _ping_after_idling(self._autocommit.sync_engine)
        self.engine = self._autocommit.execution_options(isolation_level="READ COMMITTED")

    @overload
    async def execute(self, statement: Statement[RowT]) -> list[RowT]: ...
    @overload
    async def execute(self, statement: sa.Executable) -> Sequence[sa.Row[Any]]: ...
    async def execute(self, statement: Any) -> Any:
        """Run one statement as its own transaction and return its rows."""
        async with self._autocommit.connect() as connection:
            return await AsyncTransaction(connection).execute(statement)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncTransaction]:
        """Run several statements as one; commits at the end, rolls back on an exception."""
        async with self.engine.begin() as connection:
            yield AsyncTransaction(connection)

    async def is_ready(self) -> bool:
        """Whether Postgres answers and its schema exists."""
        try:
            await self.execute(sa.select(projects.c.id).limit(1))
        except (*UNAVAILABLE, exc.ProgrammingError):
            return False
        return True

    async def close(self) -> None:
        """Close the pooled connections."""
        await self.engine.dispose()


def database_url(settings: Settings) -> sa.URL:
    """The database's URL, with psycopg 3 as its driver."""
    if settings.database_url is None:
        raise ValueError("SAFELIGHT_DATABASE_URL is not set; `safelight up` starts an embedded Postgres and sets it.")
    return sa.make_url(settings.database_url).set(drivername="postgresql+psycopg")


def connect_args(settings: Settings, name: str) -> dict[str, Any]:
    """What every connection is opened with. `name` is shown by pg_stat_activity."""
    milliseconds = settings.statement_timeout // timedelta(milliseconds=1)
    return {
        "connect_timeout": 3,
        "application_name": name,
        "options": f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout=60000",
        "keepalives_idle": 15,
    }


def _options(settings: Settings, name: str) -> dict[str, Any]:
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": 0,
        "pool_timeout": 5,
        "hide_parameters": True,
        # Most statements run alone. Nothing of a connection is changed or reset for them, which would cost as much as
        # the statement costs this process; transactions pay it.
        "isolation_level": "AUTOCOMMIT",
        "skip_autocommit_rollback": True,
        "json_deserializer": from_json,  # a claim of 64 jobs has 320 values of JSON
        "connect_args": connect_args(settings, name),
    }


def _translate_errors(engine: sa.Engine) -> None:
    """Raise OperationalError for every error that breaks a connection, whatever class the driver gives it.

    No message of an error quotes a value: prompts must not get into a log.
    """

    @event.listens_for(engine, "handle_error")
    def translate(context: sa.ExceptionContext) -> BaseException | None:
        original, error = context.original_exception, context.sqlalchemy_exception
        if isinstance(original, psycopg.Error):
            _remove_values(original)
            if error is not None:
                error.args = (f"({type(original).__module__}.{type(original).__name__}) {original}",)
        if not context.is_disconnect or isinstance(context.sqlalchemy_exception, UNAVAILABLE):
            return None
        if not isinstance(original, Exception):  # a task that is cancelled must end, though its connection is unusable
            return None
        return exc.OperationalError(
            context.statement or "", None, context.original_exception, connection_invalidated=True
        )


def _remove_values(error: psycopg.Error) -> None:
    """Shorten the message of an error of the server. Its details and context quote rows, as may errors of data."""
    if error.diag.message_primary is not None:
        is_of_data = (error.sqlstate or "").startswith("22")
        error.args = (f"SQLSTATE {error.sqlstate}" if is_of_data else error.diag.message_primary,)


def _ping_after_idling(engine: sa.Engine, idle: float = 1.0) -> None:
    """Test a pooled connection that lay idle for a second before it is used: a restart of Postgres costs no error.

    SQLAlchemy's `pool_pre_ping` would pay a round trip each time; under load no connection lies idle that long.
    """

    @event.listens_for(engine, "checkin")
    def store(_connection: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ping(connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: object) -> None:
        if cast(psycopg.Connection[Any], record.driver_connection).closed:
            raise exc.DisconnectionError
        used_at = record.info.get("used_at")
        if used_at is None or time.monotonic() - used_at < idle:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise exc.DisconnectionError from error
