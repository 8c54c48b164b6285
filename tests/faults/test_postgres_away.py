"""Without Postgres nothing is accepted, and everything goes on when it is back."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.stack import Stack, body, migrate

_numbers = count(1)


@pytest.fixture
def database(directory: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(directory / f"database{next(_numbers)}") as server:
        yield server


@pytest.fixture
def stack(directory: Path, database: EmbeddedPostgres, valkey: EmbeddedValkey) -> Iterator[Stack]:
    url = database.create_database("safelight")
    migrate(url)
    place = directory / f"postgres{next(_numbers)}"
    with Stack(place, url, valkey.url.removesuffix("/0") + "/3") as stack:
        stack.api()
        stack.worker()
        stack.sweep()
        yield stack


def test_without_postgres_nothing_is_accepted_and_it_recovers_cleanly(stack: Stack, database: EmbeddedPostgres) -> None:
    job = stack.final(stack.submit()["id"])
    database.kill()

    refusal = stack.client.post("/v1/jobs", json={"prompt": "x", "size": "64x64"})
    unready = stack.client.get("/readyz")
    liveness = stack.client.get("/healthz")

    assert (refusal.status_code, body(refusal)["error"]["code"]) == (503, "database_unavailable")
    assert refusal.headers["retry-after"] == "1"
    assert (unready.status_code, body(unready)["checks"]["database"]) == (503, "down")
    assert liveness.status_code == 200

    database.start()
    assert stack.job(job["id"])["images"] == job["images"]
    assert stack.final(stack.submit()["id"])["status"] == "completed"
    assert stack.count() == 2


def test_a_job_in_progress_outlives_a_restart_of_postgres(stack: Stack, database: EmbeddedPostgres) -> None:
    job = stack.submit(model="slow", steps=20)
    stack.until(job["id"], "job.progress")

    database.kill()
    database.start()

    final = stack.final(job["id"])
    assert (final["status"], final["attempts"]) == ("completed", 1)
