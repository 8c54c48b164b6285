"""Statements that ask for the version of Postgres and the revision of the schema."""

import sqlalchemy as sa

from core.db import Statement

_TABLE = "alembic_version"


def get_server_version() -> Statement[str]:
    """The version of the server, such as `18.1`."""
    return Statement(sa.text("SELECT current_setting('server_version')"), str)


def list_revision_tables() -> Statement[str]:
    """The name of the table that holds the revision; no row in a database without tables."""
    name = sa.func.to_regclass(_TABLE)
    return Statement(sa.select(sa.cast(name, sa.Text)).where(name.is_not(None)), str)


def get_revision() -> Statement[str]:
    """The revision of the tables. The table must exist."""
    return Statement(sa.select(sa.column("version_num")).select_from(sa.table(_TABLE)), str)
