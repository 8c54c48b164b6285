"""How Postgres runs a statement, as EXPLAIN ANALYZE says it, and what it did is undone."""

from collections.abc import Iterator
from typing import Any

import psycopg
import sqlalchemy as sa

from core.db import Database, Statement, Transaction
from core.statement_text import text_of


def plan(database: Database, statement: Statement[Any] | sa.Executable) -> dict[str, Any]:
    with database.engine.connect() as connection:

        @sa.event.listens_for(connection, "before_cursor_execute", retval=True)
        def explain(_connection: object, _cursor: object, sql: str, values: object, *_: object) -> tuple[str, object]:
            return f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", values

        sql = statement.sql if isinstance(statement, Statement) else statement
        (explanation,) = connection.execute(sql).scalar_one()
        connection.rollback()
    return dict(explanation)


def explain_text(transaction: Transaction, statement: Statement[Any]) -> dict[str, Any]:
    """How Postgres runs a statement that is built once, as it is executed: its text, and the values."""
    text, values = text_of(statement.sql).bind(statement.values or {})
    driver: Any = transaction.connection.connection.driver_connection
    with psycopg.RawCursor(driver) as cursor:
        ((explanations,),) = cursor.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + text, values).fetchall()
    return dict(explanations[0])


def nodes(of: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield of
    for child in of.get("Plans", []):
        yield from nodes(child)


def scans(of: dict[str, Any], table: str) -> list[dict[str, Any]]:
    """The nodes that read a table."""
    return [node for node in nodes(of["Plan"]) if node.get("Relation Name") == table]


def indexes(of: dict[str, Any]) -> set[str]:
    """The indexes that are read."""
    return {node["Index Name"] for node in nodes(of["Plan"]) if "Index Name" in node}
