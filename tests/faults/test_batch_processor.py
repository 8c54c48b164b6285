"""The batch processor has a rival, meets errors, loses Postgres or the store: no batch suffers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy as sa

from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from core.batches import transitions as core_batches
from core.tables import batches, files, jobs, webhook_deliveries
from tests.faults.test_batch_processor_killed import (
    LINES,
    end_jobs,
    find_source,
    from_a_file,
    lines_in,
    status_of,
    tidy,
    told,
    unspoken_of,
    until_it_waits,
)
from tests.faults.test_webhooks import until as until_so
from tests.images import an_image, encoded, upload
from tests.processes import Process
from tests.stack import Stack, migrate
from tests.story.test_batches import lines_of, submit, until
from worker.batches.processor import BatchLease, BatchProcessor

_numbers = count(1)


def test_two_processors_share_the_batches_and_none_is_done_twice(own: Stack) -> None:
    own.api()
    made = [
        submit(own, requests=[{"prompt": f"cat {n}"}] * 3, model="elsewhere", size="64x64")["id"] for n in range(16)
    ]

    processors = [own.sweep(), own.sweep()]
    until_so(lambda: {status_of(own, batch_id) for batch_id in made} == {"in_progress"})
    for batch_id in made:
        end_jobs(own, batch_id)
    until_so(lambda: all(find_source(own, batch_id).counts is not None for batch_id in made))
    for processor in processors:
        processor.terminate()

    shares = {}
    for word in ("in_progress", "completed"):
        said = [
            [batch_id for batch_id in made if f"{batch_id}: {word}" in processor.said()] for processor in processors
        ]
        shares[word] = [len(one) for one in said]
        assert sorted(said[0] + said[1]) == sorted(made)
    assert all(told(own, batch_id) == ["validating", "in_progress", "finalizing", "completed"] for batch_id in made)
    assert all(lines_in(own, batch_id) == [0, 1, 2] for batch_id in made)
    assert unspoken_of(own) == set(), "nobody wrote a file in vain"
    print(f"{len(made)} batches, two batch processors: {shares}")


def test_nothing_that_goes_wrong_ends_the_processor(own: Stack) -> None:
    own.api()
    own.database.execute(sa.text("ALTER TABLE batches RENAME TO elsewhere"))
    processor = own.sweep()
    processor.until_says("the batch processor failed")
    own.database.execute(sa.text("ALTER TABLE elsewhere RENAME TO batches"))
    batch = submit(own, requests=[{"prompt": "a cat"}], model="elsewhere", size="64x64")

    assert until(own, batch["id"], "in_progress")["request_counts"]["queued"] == 1


def test_a_store_that_is_away_keeps_batches_waiting_and_fails_none(own: Stack) -> None:
    own.api()
    storage = own.directory / "images" / "files"
    image = upload(own, encoded(an_image()))
    plain = from_a_file(own, 3, model="elsewhere")
    edit = submit(
        own,
        requests=[{"operation": "edit", "prompt": "a hat", "image": {"file_id": image["id"]}}],
        model="elsewhere",
        size="64x64",
    )["id"]

    with away(storage):
        processor = own.sweep()
        until_so(lambda: processor.said().count("the storage is unavailable") >= 2)
        reading = [status_of(own, batch_id) for batch_id in (plain, edit)]
    with away(storage / image["id"]):
        free_leases(own)
        until_so(lambda: status_of(own, plain) == "in_progress")
        until_so(lambda: processor.said().count("the storage is unavailable") >= 3)
        reading.append(status_of(own, edit))
    free_leases(own)
    until_so(lambda: status_of(own, edit) == "in_progress")

    end_jobs(own, plain)
    with away(storage):
        until_so(lambda: processor.said().count("the storage is unavailable") >= 4)
        writing = status_of(own, plain)
    free_leases(own)
    done = until(own, plain)

    assert reading == ["validating"] * 3
    assert (writing, done["status"]) == ("finalizing", "completed")
    assert len(lines_of(own, done["error_file_id"])) == 3


@contextmanager
def away(path: Path) -> Iterator[None]:
    """What lies at a path cannot be reached: something else is there."""
    aside = path.with_name(f"{path.name}.aside")
    path.rename(aside)
    if aside.is_dir():
        path.write_text("in the way")
    else:
        path.symlink_to(path)  # to itself: an error, and no missing file
    yield
    path.unlink()
    aside.rename(path)


def free_leases(stack: Stack) -> None:
    """Let the time pass for which a batch is left alone."""
    stack.database.execute(
        sa.update(batches).where(batches.c.lease.is_not(None)).values(lease_expires_at=sa.func.now())
    )


@pytest.fixture
def database(directory: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(directory / f"batch processors{next(_numbers)}") as server:
        yield server


def test_a_restart_of_postgres_costs_a_batch_time_alone(
    directory: Path, database: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    url = database.create_database("safelight")
    migrate(url)
    place = directory / f"batch processor{next(_numbers)}"
    with Stack(place, url, valkey.url.removesuffix("/0") + "/4") as own:
        own.api()
        batch_id = from_a_file(own, LINES, model="elsewhere")
        processor = restarted_while(own, database, "ACCESS EXCLUSIVE", "FROM files", own.sweep)
        until_so(lambda: status_of(own, batch_id) == "in_progress")
        read = lines_in(own, batch_id)
        own.database.execute(
            sa.update(jobs).where(jobs.c.batch_id == batch_id).values(status="expired", finished_at=sa.func.now())
        )
        restarted_while(own, database, "SHARE", "INSERT INTO files", lambda: processor)
        until_so(lambda: status_of(own, batch_id) == "completed")

        assert read == list(range(LINES))
        assert told(own, batch_id) == ["validating", "in_progress", "finalizing", "completed"]
        written = own.database.execute(sa.select(files.c.id).where(files.c.purpose == "batch_output"))
        assert [row.id for row in written] == [find_source(own, batch_id).error_file_id]
        assert not processor.has_ended


def restarted_while(
    stack: Stack, database: EmbeddedPostgres, mode: str, doing: str, start: Callable[[], Process]
) -> Process:
    """Restart Postgres when the batch processor waits for the files; the lock goes with it."""
    locking = psycopg.connect(database.database_url("safelight"))
    locking.execute(f"LOCK TABLE files IN {mode} MODE")
    processor = start()
    until_it_waits(stack, doing)
    database.kill()
    with suppress(psycopg.Error):
        locking.rollback()
    locking.close()
    database.start()
    stack.database.engine.dispose()
    free_leases(stack)
    return processor


def test_batches_past_retention_go_with_all_that_was_told_of_them(own: Stack) -> None:
    own.api()
    hook = {"url": "http://127.0.0.1:8009/", "events": ["batch.completed"]}
    requests = [{"prompt": "a"}, {"prompt": "b"}]
    said: dict[str, Any] = {"requests": requests, "model": "elsewhere", "size": "64x64", "webhook": hook}
    ended, still_open = (submit(own, **said)["id"] for _ in range(2))
    own.sweep()
    until_so(lambda: {status_of(own, ended), status_of(own, still_open)} == {"in_progress"})
    end_jobs(own, ended)
    one = sa.select(jobs.c.id).where(jobs.c.batch_id == still_open, jobs.c.batch_index == 0).scalar_subquery()
    own.database.execute(sa.update(jobs).where(jobs.c.id == one).values(status="expired", finished_at=sa.func.now()))
    until(own, ended)
    before = [row.batch_id for row in own.database.execute(sa.select(webhook_deliveries.c.batch_id))]

    tidy(own, retention=timedelta(milliseconds=1))

    assert before == [ended]
    assert own.client.get(f"/v1/batches/{ended}").status_code == 404
    assert (told(own, ended), lines_in(own, ended)) == ([], [])
    assert own.count(webhook_deliveries) == 0
    assert lines_in(own, still_open) == [0, 1]
    assert status_of(own, still_open) == "in_progress"
    own.client.post(f"/v1/batches/{still_open}/cancel")
    assert until(own, still_open)["request_counts"]["expired"] == 1


def test_a_long_batch_keeps_its_processor_and_holds_up_no_other(own: Stack) -> None:
    """The batch processor is one thread: long reads and writes must not delay a cancel request."""
    own.api()
    waiting = submit(own, prompts=["a cat"], model="elsewhere", size="64x64")["id"]
    from_a_file(own, 5, model="elsewhere")
    (row,) = own.database.execute(core_batches.claim(uuid4(), timedelta(minutes=1)))
    copying = sa.text("SELECT 1 FROM pg_stat_progress_copy WHERE datname = current_database()")
    seen, in_copy = [], []

    def reading() -> Iterator[str]:
        yield "a line"
        own.client.post(f"/v1/batches/{waiting}/cancel")
        seen.append(status_of(own, waiting))
        yield "another"

    processor = BatchProcessor(own.settings)
    for _ in BatchLease(own.database, row, processor.advance, renewal=0.0).renew_during(reading()):
        seen.append(status_of(own, waiting))
    moved = processor.read_batch(
        BatchLease(own.database, row, lambda: in_copy.append(bool(own.database.execute(copying))), renewal=0.0)
    )
    processor.close()

    assert seen == ["in_progress", "cancelling", "finalizing"]
    assert (moved.status, True in in_copy) == ("in_progress", True)
