"""The fixtures of every test: one Postgres and one Valkey a session, a fresh database a test."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from core.db import Database
from core.tables import DEFAULT_PROJECT, projects
from tests.stack import Stack, migrate, settings_of

_numbers = count(1)


@pytest.fixture(scope="session")
def directory() -> Iterator[Path]:
    """A short path: a Unix socket's may have 107 characters."""
    path = Path(tempfile.mkdtemp(prefix="sl-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres(directory: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(directory / "pg") as server:
        with psycopg.connect(server.database_url("postgres"), autocommit=True) as connection:
            # Tests kill processes and cut no power: what Postgres gave to the kernel is safe, and disks may be slow.
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        template = server.create_database("template_safelight")
        migrate(template, server.as_application(template))
        yield server


@pytest.fixture(scope="session")
def valkey(directory: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(directory / "valkey") as server:
        yield server


@pytest.fixture(scope="session")
def fresh_database(postgres: EmbeddedPostgres) -> Callable[[], str]:
    """Makes a migrated, empty database and returns its URL."""
    return lambda: postgres.create_database(f"test_{next(_numbers)}", template="template_safelight")


@pytest.fixture(scope="session")
def shared_database(fresh_database: Callable[[], str]) -> Iterator[Database]:
    database = Database(settings_of({"SAFELIGHT_DATABASE_URL": fresh_database()}), name="test")
    yield database
    database.close()


@pytest.fixture
def database(shared_database: Database) -> Database:
    """An empty database."""
    tables = (
        "jobs, images, job_events, batches, batch_events, files, provider_calls, idempotency_keys, api_keys, "
        "audit_events, webhook_endpoints, webhook_deliveries, webhook_attempts, usage_entries, usage_buckets, "
        "limits, limit_use, paid_images, pauses, workers, storage_use, fine_tuned_models, fine_tuning_events, "
        "fine_tuning_jobs, subjects_at_limit"
    )
    shared_database.execute(sa.text(f"TRUNCATE {tables}"))
    shared_database.execute(sa.delete(projects).where(projects.c.id != DEFAULT_PROJECT))
    return shared_database


@pytest.fixture(scope="session")
def safelight(
    directory: Path, postgres: EmbeddedPostgres, fresh_database: Callable[[], str], valkey: EmbeddedValkey
) -> Iterator[Stack]:
    """A Safelight that runs for the whole session, for tests that break nothing. Its role has only its own rights."""
    url = fresh_database()
    with Stack(directory / "shared", url, valkey.url, SAFELIGHT_DATABASE_URL=postgres.as_application(url)) as stack:
        stack.api()
        stack.worker()
        stack.sweep()
        stack.deliver()
        yield stack


@pytest.fixture
def own(directory: Path, fresh_database: Callable[[], str]) -> Iterator[Stack]:
    """A Safelight of the test's own, with its own Valkey; nothing is started yet."""
    place = directory / f"own{next(_numbers)}"
    with EmbeddedValkey(place / "valkey") as server, Stack(place, fresh_database(), server.url) as stack:
        yield stack
