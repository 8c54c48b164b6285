"""Two batch processors, errors in them, Postgres or storage away: no batch is lost or done twice."""

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
from core.redis.notifier import Notifier
from core.storage import Storage
from core.tables import files, jobs, webhook_deliveries
from tests.batches import (
    batch_event_types,
    batch_row,
    batch_status,
    expire_jobs,
    file_lines,
    job_indexes,
    submit_batch,
    submit_file,
    until_batch,
)
from tests.faults.batch_processors import LINES, end_leases, orphan_keys, sweep_files, table_lock, until_processor_waits
from tests.images import an_image, encode, upload
from tests.processes import Process
from tests.stack import Stack, migrate
from tests.waiting import until
from worker.batches.lease import BatchLease
from worker.batches.reader import BatchReader

_numbers = count(1)


def test_two_processors_share_the_batches_and_none_is_done_twice(own: Stack) -> None:
    own.api()
    batch_ids = [
        submit_batch(own, requests=[{"prompt": f"cat {n}"}] * 3, model="elsewhere", size="64x64")["id"]
        for n in range(16)
    ]

    processors = [own.sweep(), own.sweep()]
    until(lambda: {batch_status(own, batch_id) for batch_id in batch_ids} == {"in_progress"})
    for batch_id in batch_ids:
        expire_jobs(own, batch_id)
    until(lambda: all(batch_row(own, batch_id).counts is not None for batch_id in batch_ids))
    for processor in processors:
        processor.terminate()

    shares = {}
    for word in ("in_progress", "completed"):
        shares_by_processor = [
            [batch_id for batch_id in batch_ids if f"{batch_id}: {word}" in processor.output()]
            for processor in processors
        ]
        shares[word] = [len(share) for share in shares_by_processor]
        assert sorted(shares_by_processor[0] + shares_by_processor[1]) == sorted(batch_ids)
    assert all(
        batch_event_types(own, batch_id) == ["validating", "in_progress", "finalizing", "completed"]
        for batch_id in batch_ids
    )
    assert all(job_indexes(own, batch_id) == [0, 1, 2] for batch_id in batch_ids)
    assert orphan_keys(own) == set(), "nobody wrote a file in vain"
    print(f"{len(batch_ids)} batches, two batch processors: {shares}")


def test_nothing_that_goes_wrong_ends_the_processor(own: Stack) -> None:
    own.api()
    own.database.execute(sa.text("ALTER TABLE batches RENAME TO elsewhere"))
    processor = own.sweep()
    processor.until_says("the batch processor failed")
    own.database.execute(sa.text("ALTER TABLE elsewhere RENAME TO batches"))
    batch = submit_batch(own, requests=[{"prompt": "a cat"}], model="elsewhere", size="64x64")

    assert until_batch(own, batch["id"], "in_progress")["request_counts"]["queued"] == 1


def test_a_store_that_is_away_keeps_batches_waiting_and_fails_none(own: Stack) -> None:
    own.api()
    storage = own.directory / "images" / "files"
    image = upload(own, encode(an_image()))
    file_batch = submit_file(own, 3, model="elsewhere")
    edit = submit_batch(
        own,
        requests=[{"operation": "edit", "prompt": "a hat", "image": {"file_id": image["id"]}}],
        model="elsewhere",
        size="64x64",
    )["id"]

    with away(storage):
        processor = own.sweep()
        until(lambda: processor.output().count("the storage is unavailable") >= 2)
        reading = [batch_status(own, batch_id) for batch_id in (file_batch, edit)]
    with away(storage / image["id"]):
        end_leases(own)
        until(lambda: batch_status(own, file_batch) == "in_progress")
        until(lambda: processor.output().count("the storage is unavailable") >= 3)
        reading.append(batch_status(own, edit))
    end_leases(own)
    until(lambda: batch_status(own, edit) == "in_progress")

    expire_jobs(own, file_batch)
    with away(storage):
        until(lambda: batch_status(own, file_batch) == "finalizing")
        count = processor.output().count("the storage is unavailable")
        until(lambda: processor.output().count("the storage is unavailable") > count)
        writing = batch_status(own, file_batch)
    end_leases(own)
    batch = until_batch(own, file_batch)

    assert reading == ["validating"] * 3
    assert (writing, batch["status"]) == ("finalizing", "completed")
    assert len(file_lines(own, batch["error_file_id"])) == 3


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
        batch_id = submit_file(own, LINES, model="elsewhere")
        processor = restarted_while(own, database, batch_id, "ACCESS EXCLUSIVE", "FROM files", own.sweep)
        until(lambda: batch_status(own, batch_id) == "in_progress")
        indexes = job_indexes(own, batch_id)
        own.database.execute(
            sa.update(jobs).where(jobs.c.batch_id == batch_id).values(status="expired", finished_at=sa.func.now())
        )
        restarted_while(own, database, batch_id, "SHARE", "INSERT INTO files", lambda: processor)
        until(lambda: batch_status(own, batch_id) == "completed")

        assert indexes == list(range(LINES))
        assert batch_event_types(own, batch_id) == ["validating", "in_progress", "finalizing", "completed"]
        rows = own.database.execute(sa.select(files.c.id).where(files.c.purpose == "batch_output"))
        assert [row.id for row in rows] == [batch_row(own, batch_id).error_file_id]
        assert not processor.has_ended


def restarted_while(
    stack: Stack, database: EmbeddedPostgres, batch_id: str, mode: str, doing: str, start: Callable[[], Process]
) -> Process:
    """Restart Postgres when the batch processor waits for the files; the lock goes with it."""
    locking = psycopg.connect(database.database_url("safelight"))
    locking.execute(f"LOCK TABLE files IN {mode} MODE")
    processor = start()
    until_processor_waits(stack, doing)
    database.kill()
    with suppress(psycopg.Error):
        locking.rollback()
    locking.close()
    database.start()
    stack.database.engine.dispose()
    # The processor takes its attempt back and renews the lease: only then may the test end it.
    until(lambda: batch_row(stack, batch_id).attempts == 0)
    end_leases(stack)
    return processor


def test_batches_past_retention_are_purged_with_their_events_and_deliveries(own: Stack) -> None:
    own.api()
    hook = {"url": "http://127.0.0.1:8009/", "events": ["batch.completed"]}
    requests = [{"prompt": "a"}, {"prompt": "b"}]
    fields: dict[str, Any] = {"requests": requests, "model": "elsewhere", "size": "64x64", "webhook": hook}
    ended_batch, open_batch = (submit_batch(own, **fields)["id"] for _ in range(2))
    own.sweep()
    until(lambda: {batch_status(own, ended_batch), batch_status(own, open_batch)} == {"in_progress"})
    expire_jobs(own, ended_batch)
    first_job = sa.select(jobs.c.id).where(jobs.c.batch_id == open_batch, jobs.c.batch_index == 0).scalar_subquery()
    own.database.execute(
        sa.update(jobs).where(jobs.c.id == first_job).values(status="expired", finished_at=sa.func.now())
    )
    until_batch(own, ended_batch)
    before = [row.batch_id for row in own.database.execute(sa.select(webhook_deliveries.c.batch_id))]

    sweep_files(own, retention=timedelta(milliseconds=1))

    assert before == [ended_batch]
    assert own.client.get(f"/v1/batches/{ended_batch}").status_code == 404
    assert (batch_event_types(own, ended_batch), job_indexes(own, ended_batch)) == ([], [])
    assert own.count(webhook_deliveries) == 0
    assert job_indexes(own, open_batch) == [0, 1]
    assert batch_status(own, open_batch) == "in_progress"
    own.client.post(f"/v1/batches/{open_batch}/cancel")
    assert until_batch(own, open_batch)["request_counts"]["expired"] == 1


def test_a_batch_that_is_read_for_long_holds_up_no_other(own: Stack) -> None:
    own.api()
    other_batch = submit_batch(own, prompts=["a cat"], model="elsewhere", size="64x64")["id"]
    long_batch = submit_file(own, 5, model="elsewhere")

    with table_lock(own, "files", "ACCESS EXCLUSIVE"):
        own.sweep()
        until_processor_waits(own, "FROM files")
        own.client.post(f"/v1/batches/{other_batch}/cancel")
        until(lambda: batch_status(own, other_batch) == "finalizing")
        assert batch_status(own, long_batch) == "validating"

    until_batch(own, long_batch, "in_progress")


def test_a_lease_is_renewed_while_a_batch_is_inserted(own: Stack) -> None:
    own.api()
    submit_file(own, 5, model="elsewhere")
    (row,) = own.database.execute(core_batches.claim(uuid4(), timedelta(minutes=1)))
    copying = sa.text("SELECT 1 FROM pg_stat_progress_copy WHERE datname = current_database()")
    in_copy = []

    class Lease(BatchLease):
        def renew(self) -> None:
            super().renew()
            in_copy.append(bool(own.database.execute(copying)))

    reader = BatchReader(own.settings, own.database, Storage(own.settings), Notifier(own.settings))
    admission = reader.read(Lease(own.database, row, renewal=0.0))
    reader.close()

    assert (admission.status, True in in_copy) == ("in_progress", True)
