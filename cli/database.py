"""The database as commands see it: open it, ask which revision it has, bring it to the newest."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

import migrations
from cli.errors import CommandError
from core.db import Database
from core.settings import Settings


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The database, closed at the end. Raises CommandError when it cannot be used."""
    database = Database(settings, name="safelight-cli")
    try:
        yield database
    except sa.exc.SQLAlchemyError as error:
        raise CommandError(f"The database cannot be used: {_first_line(error)}") from None
    finally:
        database.close()


def upgrade(settings: Settings) -> None:
    """Bring the database's tables to the newest revision. Raises CommandError when that cannot be done."""
    try:
        migrations.upgrade(database_url=settings.database_url)
    except migrations.MigrationError as error:
        raise CommandError(str(error)) from None
    except sa.exc.SQLAlchemyError as error:
        raise CommandError(f"The database cannot be used: {_first_line(error)}") from None


def revision(database: Database) -> str | None:
    """The revision that the tables have; None when there are none."""
    if not database.execute(sa.select(sa.func.to_regclass("alembic_version")))[0][0]:
        return None
    rows = database.execute(sa.text("SELECT version_num FROM alembic_version"))
    return str(rows[0][0]) if rows else None


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
