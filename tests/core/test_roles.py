"""The role of the application reads and writes rows. It can do nothing else to the database or to the server."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg import errors

import migrations
from cli.local.embedded import APPLICATION_ROLE, EmbeddedPostgres
from tests.stack import Stack, body
from tests.waiting import until


@pytest.fixture(scope="module")
def owner_url(fresh_database: Callable[[], str]) -> str:
    return fresh_database()


@pytest.fixture
def application(postgres: EmbeddedPostgres, owner_url: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    with psycopg.connect(postgres.as_application(owner_url), autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE ROLE intruder",
        "ALTER ROLE safelight_app SUPERUSER",
        "CREATE DATABASE another",
        "COPY projects TO PROGRAM 'cat'",
        "COPY projects FROM PROGRAM 'echo'",
        "COPY projects TO '/tmp/projects'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT rolpassword FROM pg_authid",
        "CREATE TABLE mine (x int)",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE EXTENSION dblink",
        "ALTER TABLE jobs ADD COLUMN x int",
        "DROP TABLE jobs",
        "TRUNCATE jobs CASCADE",
        "UPDATE alembic_version SET version_num = '0001'",
        "ALTER SYSTEM SET log_statement = 'all'",
        "SET session_authorization = 'safelight'",
    ],
)
def test_the_application_cannot_change_the_database(
    application: psycopg.Connection[tuple[object, ...]], statement: str
) -> None:
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute(statement)


def test_the_role_has_no_attributes_and_no_memberships(application: psycopg.Connection[tuple[object, ...]]) -> None:
    assert application.execute(
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolcanlogin "
        "FROM pg_roles WHERE rolname = current_user"
    ).fetchall() == [(False, False, False, False, False, True)]
    assert application.execute("SELECT 1 FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member "
                               "WHERE r.rolname = current_user").fetchall() == []  # fmt: skip


def test_the_application_reads_and_writes_rows_also_by_copy(
    application: psycopg.Connection[tuple[object, ...]],
) -> None:
    with application.cursor() as cursor, cursor.copy("COPY projects (id, name) FROM STDIN") as into:
        into.write(b"proj_copied\tcopied\n")
    application.execute("UPDATE projects SET name = 'x' WHERE id = 'proj_copied'")
    assert application.execute("DELETE FROM projects WHERE id = 'proj_copied' RETURNING name").fetchall() == [("x",)]


def test_a_table_of_a_later_revision_gets_the_same_rights(
    owner_url: str, application: psycopg.Connection[tuple[object, ...]]
) -> None:
    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY, name text)")
        owner.execute("CREATE SEQUENCE later_seq")

    application.execute("INSERT INTO later (name) VALUES ('a')")
    assert application.execute("SELECT name, nextval('later_seq') FROM later").fetchall() == [("a", 1)]


def test_the_migrations_create_the_role_once_and_keep_its_password(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("with_a_role")
    application_url = url.replace(f"safelight:{postgres.password}", "role_of_a_test:first")
    for _ in range(2):
        migrations.upgrade(database_url=url, application_url=application_url)

    with psycopg.connect(application_url) as connection:
        assert connection.execute("SELECT current_user").fetchall() == [("role_of_a_test",)]
    with psycopg.connect(url) as owner:
        (row,) = owner.execute("SELECT rolpassword FROM pg_authid WHERE rolname = 'role_of_a_test'").fetchall()
    assert str(row[0]).startswith("SCRAM-SHA-256$")
    postgres.drop_database("with_a_role")
    with psycopg.connect(postgres.url, autocommit=True) as owner:
        owner.execute("DROP ROLE role_of_a_test")


def test_one_role_for_everything_stays_possible(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("with_one_role")

    migrations.upgrade(database_url=url, application_url=url)

    with psycopg.connect(url) as owner:
        assert owner.execute("SELECT count(*) FROM pg_default_acl").fetchall() == [(0,)]
    postgres.drop_database("with_one_role")


def test_all_processes_of_a_running_safelight_have_that_role(safelight: Stack) -> None:
    until(lambda: body(safelight.client.get("/readyz"))["queues"]["local"] == "ok")
    job = safelight.submit()
    assert safelight.final(job["id"])["status"] == "completed"
    url = safelight.database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    sessions = (
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'safelight-%'"
    )
    with psycopg.connect(url) as owner:
        until(lambda: owner.execute(sessions).fetchall() == [(APPLICATION_ROLE,)])
