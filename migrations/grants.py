"""The rights of the application's role: it reads and writes rows, and can change nothing else of the database.

The migrations run as the owner of the tables. A table of a later revision gets the same rights by default.
"""

import sqlalchemy as sa
from psycopg import Connection, sql

_TABLES = "SELECT, INSERT, UPDATE, DELETE"
_SEQUENCES = "USAGE, SELECT, UPDATE"

_GRANTS = (
    f"GRANT {_TABLES} ON ALL TABLES IN SCHEMA public TO {{role}}",
    f"GRANT {_SEQUENCES} ON ALL SEQUENCES IN SCHEMA public TO {{role}}",
    f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {_TABLES} ON TABLES TO {{role}}",
    f"ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT {_SEQUENCES} ON SEQUENCES TO {{role}}",
    "GRANT USAGE ON SCHEMA public TO {role}",
    "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    "REVOKE INSERT, UPDATE, DELETE ON alembic_version FROM {role}",
    "GRANT CONNECT ON DATABASE {database} TO {role}",
)


def grant(connection: sa.Connection, application_url: str) -> None:
    """Give the role of the application's URL its rights. A role that does not exist is created with its password.

    Does nothing if the migrating role and the application's are the same.
    """
    url = sa.make_url(application_url)
    driver: Connection[object] = connection.connection.driver_connection  # type: ignore[assignment]  # psycopg's
    if url.username is None or url.username == driver.info.user:
        return
    connection.rollback()
    role = sql.Identifier(url.username)
    database = sql.Identifier(driver.info.dbname)
    with driver.transaction():
        if not driver.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [url.username]).fetchone():
            _create(driver, url.username, url.password)
        for statement in _GRANTS:
            driver.execute(sql.SQL(statement).format(role=role, database=database))


def _create(driver: Connection[object], name: str, password: str | None) -> None:
    """Create a role. Only the hash of its password is sent, so that no log of statements has it."""
    options = sql.SQL("LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")
    driver.execute(sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), options))
    if password:
        verifier = driver.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        driver.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(verifier)))
