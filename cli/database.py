"""Access to the database for commands: open it, read its revision, migrate it."""

from collections.abc import Iterator
from contextlib import contextmanager

import migrations
from cli.errors import CommandError
from core import revision
from core.db import DATABASE_ERROR, Database
from core.errors import first_line
from core.settings import Settings


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Open the database and close it at the end. Raises CommandError if a statement fails."""
    database = Database(settings, name="safelight-cli")
    try:
        with _command_errors():
            yield database
    finally:
        database.close()


def upgrade(settings: Settings) -> None:
    """Migrate the database to the newest revision. Raises CommandError if that fails."""
    try:
        with _command_errors():
            database_url = settings.migrations_database_url or settings.database_url
            migrations.upgrade(database_url=database_url, application_url=settings.database_url)
    except migrations.MigrationError as error:
        raise CommandError(str(error)) from None


def get_revision(database: Database) -> str | None:
    """The revision of the tables; None if there are no tables."""
    if not database.execute(revision.list_revision_tables()):
        return None
    return next(iter(database.execute(revision.get_revision())), None)


@contextmanager
def _command_errors() -> Iterator[None]:
    try:
        yield
    except DATABASE_ERROR as error:
        cause = getattr(error, "orig", None) or error  # the driver's error, without SQLAlchemy's additions
        raise CommandError(f"The database cannot be used: {first_line(cause)}") from None
