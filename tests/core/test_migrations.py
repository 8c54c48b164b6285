"""The runner of the migrations: short waits for locks, one process at a time; and the operations that stop nobody."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

import migrations
from cli.local.embedded import EmbeddedPostgres
from migrations import operations, runner
from tests.processes import Process, python
from tests.waiting import PATIENCE

SHORT = migrations.Patience(lock_timeout=timedelta(milliseconds=100), attempts=1000, pause=timedelta(0))


@pytest.fixture
def earlier_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """A database at an earlier revision."""
    url = postgres.create_database("earlier")
    migrations.upgrade("0011", database_url=url)
    yield url
    postgres.drop_database("earlier")


def revision_of(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row is not None
    return str(row[0])


class Upgrade:
    """An upgrade in a thread, and what it says."""

    def __init__(self, url: str, patience: migrations.Patience = SHORT) -> None:
        self._said: queue.Queue[str] = queue.Queue()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=[url, patience])
        self._thread.start()

    def _run(self, url: str, patience: migrations.Patience) -> None:
        try:
            migrations.upgrade(database_url=url, patience=patience, say=self._said.put)
        except Exception as error:
            self._error = error

    def next_line(self) -> str:
        return self._said.get(timeout=PATIENCE)

    def finish(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


def test_a_locked_table_is_waited_for_in_short_attempts_until_it_is_free(earlier_url: str) -> None:
    with psycopg.connect(earlier_url) as other, psycopg.connect(earlier_url, autocommit=True) as third:
        other.execute("LOCK TABLE provider_calls IN SHARE UPDATE EXCLUSIVE MODE")
        upgrade = Upgrade(earlier_url)
        try:
            assert upgrade.next_line() == "A table that is to be changed was in use for 0.1 s (attempt 1 of 1000)."
            assert "attempt 2 of" in upgrade.next_line()
            assert revision_of(earlier_url) == "0011"
            third.execute("INSERT INTO projects VALUES ('proj_x', 'x')")  # others are not held up
        finally:
            other.rollback()
            upgrade.finish()
    assert revision_of(earlier_url) == migrations.newest()


def test_a_table_that_stays_locked_is_given_up_with_a_sentence(earlier_url: str) -> None:
    patience = migrations.Patience(lock_timeout=timedelta(milliseconds=50), attempts=3, pause=timedelta(0))
    with psycopg.connect(earlier_url) as other:
        other.execute("LOCK TABLE provider_calls IN SHARE UPDATE EXCLUSIVE MODE")
        upgrade = Upgrade(earlier_url, patience)
        with pytest.raises(migrations.MigrationError, match=r"3 attempts of 0.05 s.*safelight migrate"):
            upgrade.finish()
    assert revision_of(earlier_url) == "0011"


def test_a_second_process_waits_for_the_first_and_has_nothing_to_do(earlier_url: str) -> None:
    with psycopg.connect(earlier_url, autocommit=True) as first:
        first.execute("SELECT pg_advisory_lock(%s)", [runner.LOCK])
        second = Upgrade(earlier_url)
        try:
            assert second.next_line() == "Another process is migrating this database; waiting for it."
            assert revision_of(earlier_url) == "0011"
            # What waits has no transaction open, which an index that is built concurrently would wait for in turn.
            first.execute("CREATE INDEX CONCURRENTLY ix_waits ON projects (name)")
            first.execute("DROP INDEX CONCURRENTLY ix_waits")
        finally:
            first.execute("SELECT pg_advisory_unlock_all()")
            second.finish()
    assert revision_of(earlier_url) == migrations.newest()


def test_many_processes_at_once_apply_each_revision_once(postgres: EmbeddedPostgres) -> None:
    url = postgres.create_database("at_once")
    command = python("-c", "import sys, migrations; migrations.upgrade(database_url=sys.argv[1])", url)
    with ExitStack() as exits:
        processes = [exits.enter_context(Process(f"migrate {number}", command, {})) for number in range(3)]
        assert [process.wait() for process in processes] == [0, 0, 0], "\n".join(map(Process.output, processes))
    assert revision_of(url) == migrations.newest()
    postgres.drop_database("at_once")


def test_nothing_has_a_time_limit_but_waiting_for_a_lock(earlier_url: str) -> None:
    with runner.connected(earlier_url, migrations.Patience()) as connection:
        limits = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
        }
    assert limits == {"statement_timeout": "0", "lock_timeout": "5s", "idle_in_transaction_session_timeout": "0"}


@pytest.fixture
def table(fresh_database: Callable[[], str]) -> Iterator[sa.Engine]:
    """A database with a table of 2500 rows."""
    engine = sa.create_engine(sa.make_url(fresh_database()).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE things (id text PRIMARY KEY, old int, new int)")
        connection.exec_driver_sql("INSERT INTO things SELECT 'x' || i, mod(i, 2499) FROM generate_series(1, 2500) i")
        connection.exec_driver_sql("ANALYZE things")
    yield engine
    engine.dispose()


@contextmanager
def revision(engine: sa.Engine) -> Iterator[None]:
    """What a revision runs in."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"transaction_per_migration": True})
        with Operations.context(context), context.begin_transaction(_per_migration=True):
            yield


def test_an_index_of_an_interrupted_run_is_built_anew(table: sa.Engine) -> None:
    unique = {"unique": True, "postgresql_where": sa.text("old IS NOT NULL")}
    with pytest.raises(sa.exc.IntegrityError), revision(table):  # two rows are alike
        operations.create_index("uq_things", "things", ["old"], **unique)
    assert is_valid(table) is False

    with table.begin() as connection:
        connection.exec_driver_sql("UPDATE things SET old = 9999 WHERE id = 'x2500'")
    for _ in range(2):  # to build what is there already is nothing to do
        with revision(table):
            operations.create_index("uq_things", "things", ["old"], **unique)
        assert is_valid(table) is True

    for _ in range(2):
        with revision(table):
            operations.drop_index("uq_things", "things")
        assert is_valid(table) is None


def is_valid(engine: sa.Engine) -> bool | None:
    found = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('uq_things')"
    with engine.connect() as connection:
        valid: bool | None = connection.exec_driver_sql(found).scalar()
        return valid


def test_a_rule_is_checked_after_it_holds_for_new_rows(table: sa.Engine) -> None:
    with pytest.raises(sa.exc.IntegrityError), revision(table):
        operations.add_check("ck_things_old", "things", "old > 0")
    with pytest.raises(sa.exc.IntegrityError), table.begin() as connection:  # it holds already
        connection.exec_driver_sql("INSERT INTO things VALUES ('y', 0)")

    with table.begin() as connection:
        connection.exec_driver_sql("UPDATE things SET old = 1 WHERE old <= 0")
    with revision(table):
        operations.add_check("ck_things_old", "things", "old > 0")

    with table.connect() as connection:
        found = connection.exec_driver_sql("SELECT convalidated FROM pg_constraint WHERE conname = 'ck_things_old'")
        assert found.scalar() is True


def test_a_column_is_filled_a_chunk_a_transaction(table: sa.Engine, capsys: pytest.CaptureFixture[str]) -> None:
    for expected in (2500, 0):
        with revision(table):
            rows = operations.backfill("things", "new = old + 1", "new IS NULL", chunk=1000, report_seconds=0.0)
            assert rows == expected

    with table.connect() as connection:
        wrong = connection.exec_driver_sql("SELECT count(*) FROM things WHERE new IS DISTINCT FROM old + 1").scalar()
        transactions = connection.exec_driver_sql("SELECT count(DISTINCT xmin::text) FROM things").scalar()
    assert (wrong, transactions) == (0, 3)
    assert capsys.readouterr().out.splitlines() == [
        f"{rows} rows of things are filled; it has about 2500." for rows in (1000, 2000, 2500)
    ]


def test_no_revision_has_a_downgrade() -> None:
    revisions = sorted((Path(migrations.__file__).parent / "versions").glob("*.py"))

    assert revisions
    assert [path.name for path in revisions if "def downgrade" in path.read_text()] == []
