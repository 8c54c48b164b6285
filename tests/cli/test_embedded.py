"""The embedded servers: what they keep over a restart, and at which address they come back."""

import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from cli.local.ports import is_free


@pytest.fixture(scope="module")
def place(directory: Path) -> Path:
    return directory / "embedded"


@pytest.fixture(scope="module")
def a_postgres(place: Path) -> Iterator[EmbeddedPostgres]:
    """One of our own, to be stopped and killed."""
    with EmbeddedPostgres(place / "postgres") as server:
        yield server


@pytest.fixture
def a_valkey(place: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(place / "valkey") as server:
        yield server


def rows(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement).fetchall()


def say(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_postgres_comes_back_with_its_data_at_the_same_address(a_postgres: EmbeddedPostgres, end: str) -> None:
    say(a_postgres.url, "CREATE TABLE IF NOT EXISTS kept (at timestamptz)")
    say(a_postgres.url, "INSERT INTO kept VALUES (now())")
    content = rows(a_postgres.url, "TABLE kept")
    url, pid = a_postgres.url, a_postgres.pid
    sessions = psutil.Process(pid).children()

    getattr(a_postgres, end)()
    assert not a_postgres.is_running
    assert not [session for session in sessions if session.is_running() and session.status() != psutil.STATUS_ZOMBIE]
    a_postgres.start()

    assert a_postgres.url == url
    assert a_postgres.pid != pid
    assert rows(url, "TABLE kept") == content


def test_postgres_keeps_its_promises_of_durability(a_postgres: EmbeddedPostgres) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes", "listen_addresses")
    values = {name: rows(a_postgres.url, f"SHOW {name}")[0][0] for name in names}
    assert values == {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "listen_addresses": "127.0.0.1",
    }


def test_postgres_lets_nobody_in_without_the_password(a_postgres: EmbeddedPostgres) -> None:
    assert stat.S_IMODE((a_postgres.directory / "password").stat().st_mode) == 0o600
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(a_postgres.url.replace(a_postgres.password, "wrong"))


def test_a_database_is_made_as_a_copy_of_another_and_dropped(a_postgres: EmbeddedPostgres) -> None:
    source = a_postgres.create_database("source")
    say(source, "CREATE TABLE shape (number int)")
    copy = a_postgres.create_database("copy", template="source")
    assert rows(copy, "SELECT count(*) FROM shape") == [(0,)]
    a_postgres.drop_database("copy")
    assert rows(a_postgres.url, "SELECT datname FROM pg_database WHERE datname IN ('source', 'copy')") == [("source",)]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_valkey_comes_back_empty_at_the_same_address(a_valkey: EmbeddedValkey, end: str) -> None:
    url = a_valkey.url
    with redis.Redis.from_url(url) as client:
        client.set("key", 1)
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    getattr(a_valkey, end)()
    a_valkey.start()
    assert a_valkey.url == url
    with redis.Redis.from_url(url) as client:
        assert client.keys() == []


def test_a_server_takes_another_port_when_its_own_was_taken_meanwhile(place: Path) -> None:
    with EmbeddedValkey(place / "first") as first:
        (place / "second").mkdir()
        (place / "second" / "port").write_text(str(first.port))
        with EmbeddedValkey(place / "second") as second:
            assert second.port != first.port
            assert (place / "second" / "port").read_text() == str(second.port)
            assert not is_free(second.port)
