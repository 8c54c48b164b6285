"""What a revision does to a table in use: build an index, add a rule, fill a column, and hold nobody up for long.

Each function works outside the revision's transaction, and what the revision did before is committed first. So each
begins where an interrupted run ended: the revision may be run again.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from alembic import op

LARGE = 50_000
"""Rows from which on the console is told what takes long."""


def create_index(
    name: str, table: str, columns: Sequence[str | sa.ColumnElement[Any] | sa.TextClause], **options: Any
) -> None:
    """Build an index while the table is read and written. options: as for `op.create_index`.

    An interrupted run leaves an invalid index behind, which costs writes and serves nobody: it is dropped first.
    """
    with _autocommit() as connection, _unlimited_wait(connection):
        valid = connection.scalar(
            sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)"), {"name": name}
        )
        if valid:
            return
        if valid is False:
            op.drop_index(name, table, postgresql_concurrently=True)
        if (rows := _estimated_rows(connection, table)) >= LARGE:
            _say(f"Building the index {name} on about {rows} rows of {table}.")
        op.create_index(name, table, columns, postgresql_concurrently=True, **options)


def drop_index(name: str, table: str) -> None:
    """Drop an index while the table is read and written."""
    with _autocommit() as connection, _unlimited_wait(connection):
        op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)


def add_check(name: str, table: str, condition: str) -> None:
    """Add a CHECK: for new rows at once, which needs a short lock; then for the old ones, which stops nobody."""
    with _autocommit() as connection:
        has_constraint = connection.scalar(
            sa.text("SELECT true FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name"),
            {"table": table, "name": name},
        )
        if not has_constraint:
            op.create_check_constraint(op.f(name), table, condition, postgresql_not_valid=True)
        with _unlimited_wait(connection):
            if (rows := _estimated_rows(connection, table)) >= LARGE:
                _say(f"Checking about {rows} rows of {table} for {name}.")
            op.execute(sa.text(f"ALTER TABLE {_quote(table)} VALIDATE CONSTRAINT {_quote(name)}"))


def backfill(table: str, values: str, where: str, *, chunk: int = 5000, report_seconds: float = 5.0) -> int:
    """Update the rows that meet a condition, a chunk a transaction, in the order of their ids. Returns how many.

    report_seconds: how often the console is told how far it is.
    values, where: SQL of the revision, such as "a = b" and "a IS NULL". Where the condition still holds for rows that
    are updated, an interrupted run begins anew.
    """
    statement = sa.text(
        f"WITH chunk AS MATERIALIZED (SELECT id FROM {_quote(table)} WHERE id > :after AND ({where})"  # noqa: S608
        f" ORDER BY id LIMIT :chunk FOR NO KEY UPDATE), "
        f"filled AS (UPDATE {_quote(table)} SET {values} WHERE id IN (SELECT id FROM chunk) RETURNING id) "
        f"SELECT count(*), max(id) FROM filled"
    )
    filled_rows, after, report = 0, "", _progress(table, report_seconds)
    with _autocommit() as connection:
        total = _estimated_rows(connection, table)
        while True:
            count, last = connection.execute(statement, {"after": after, "chunk": chunk}).one()
            if not count:
                return filled_rows
            filled_rows, after = filled_rows + count, last
            report(filled_rows, total)


def _progress(table: str, seconds: float) -> Callable[[int, int], None]:
    said_at = time.monotonic()

    def report(rows: int, total: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at >= seconds:
            said_at = time.monotonic()
            _say(f"{rows} rows of {table} are filled; it has about {total}.")

    return report


@contextmanager
def _autocommit() -> Iterator[sa.Connection]:
    with op.get_context().autocommit_block():
        yield op.get_bind()


@contextmanager
def _unlimited_wait(connection: sa.Connection) -> Iterator[None]:
    """For statements that wait for other transactions to end without holding anybody up meanwhile."""
    connection.exec_driver_sql("SET lock_timeout = 0")
    try:
        yield
    finally:
        connection.exec_driver_sql("RESET lock_timeout")


def _estimated_rows(connection: sa.Connection, table: str) -> int:
    estimate = connection.scalar(
        sa.text("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:table)"), {"table": table}
    )
    return max(0, estimate or 0)


def _quote(name: str) -> str:
    return op.get_bind().dialect.identifier_preparer.quote(name)


def _say(line: str) -> None:
    config = op.get_context().config
    say = print if config is None else config.attributes.get("say", print)
    say(line)
