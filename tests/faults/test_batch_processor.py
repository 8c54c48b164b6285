"""The clerk of batches has a rival, stumbles, loses Postgres or the store: no batch suffers. It dies next door."""

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
    from_a_file,
    lines_in,
    row_of,
    status_of,
    tidy,
    told,
    unspoken_of,
    until_it_waits,
)
from tests.faults.test_webhooks import until as until_so
from tests.images import a_picture, encoded, upload
from tests.processes import Process
from tests.stack import Stack, migrate
from tests.story.test_batches import lines_of, submit, until
from worker.batches.processor import Clerk, Held

_numbers = count(1)


def test_two_clerks_share_the_batches_and_none_is_done_twice(own: Stack) -> None:
    own.api()
    made = [
        submit(own, requests=[{"prompt": f"cat {n}"}] * 3, model="elsewhere", size="64x64")["id"] for n in range(16)
    ]

    clerks = [own.sweep(), own.sweep()]
    until_so(lambda: {status_of(own, batch_id) for batch_id in made} == {"in_progress"})
    for batch_id in made:
        end_jobs(own, batch_id)
    until_so(lambda: all(row_of(own, batch_id).counts is not None for batch_id in made))
    for clerk in clerks:
        clerk.terminate()

    shares = {}
    for word in ("in_progress", "completed"):
        said = [[batch_id for batch_id in made if f"{batch_id}: {word}" in clerk.said()] for clerk in clerks]
        shares[word] = [len(one) for one in said]
        assert sorted(said[0] + said[1]) == sorted(made)
    assert all(told(own, batch_id) == ["validating", "in_progress", "finalizing", "completed"] for batch_id in made)
    assert all(lines_in(own, batch_id) == [0, 1, 2] for batch_id in made)
    assert unspoken_of(own) == set(), "nobody wrote a file in vain"
    print(f"{len(made)} batches, two clerks: {shares}")


def test_nothing_that_goes_wrong_ends_the_clerk(own: Stack) -> None:
    own.api()
    own.database.execute(sa.text("ALTER TABLE batches RENAME TO elsewhere"))
    clerk = own.sweep()
    clerk.until_says("the clerk stumbled")
    own.database.execute(sa.text("ALTER TABLE elsewhere RENAME TO batches"))
    batch = submit(own, requests=[{"prompt": "a cat"}], model="elsewhere", size="64x64")

    assert until(own, batch["id"], "in_progress")["request_counts"]["queued"] == 1


def test_a_sweep_that_ends_takes_its_clerk_with_it(own: Stack) -> None:
    """Else a supervisor would think that it sweeps."""
    own.database.execute(sa.text("ALTER TABLE jobs RENAME TO elsewhere"))

    assert own.sweep().wait() == 1


def test_a_store_that_is_away_keeps_batches_waiting_and_fails_none(own: Stack) -> None:
    own.api()
    shelf = own.directory / "images" / "files"
    picture = upload(own, encoded(a_picture()))
    plain = from_a_file(own, 3, model="elsewhere")
    edit = submit(
        own,
        requests=[{"operation": "edit", "prompt": "a hat", "image": {"file_id": picture["id"]}}],
        model="elsewhere",
        size="64x64",
    )["id"]

    with away(shelf):
        clerk = own.sweep()
        until_so(lambda: clerk.said().count("the store is away") >= 2)
        reading = [status_of(own, batch_id) for batch_id in (plain, edit)]
    with away(shelf / picture["id"]):
        free_leases(own)
        until_so(lambda: status_of(own, plain) == "in_progress")
        until_so(lambda: clerk.said().count("the store is away") >= 3)
        reading.append(status_of(own, edit))
    free_leases(own)
    until_so(lambda: status_of(own, edit) == "in_progress")

    end_jobs(own, plain)
    with away(shelf):
        until_so(lambda: clerk.said().count("the store is away") >= 4)
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
def ledger(directory: Path) -> Iterator[EmbeddedPostgres]:
    with EmbeddedPostgres(directory / f"clerks{next(_numbers)}") as server:
        yield server


def test_a_restart_of_postgres_costs_a_batch_time_alone(
    directory: Path, ledger: EmbeddedPostgres, valkey: EmbeddedValkey
) -> None:
    url = ledger.create_database("safelight")
    migrate(url)
    place = directory / f"clerk{next(_numbers)}"
    with Stack(place, url, valkey.url.removesuffix("/0") + "/4") as own:
        own.api()
        batch_id = from_a_file(own, LINES, model="elsewhere")
        clerk = restarted_while(own, ledger, "ACCESS EXCLUSIVE", "FROM files", own.sweep)
        until_so(lambda: status_of(own, batch_id) == "in_progress")
        read = lines_in(own, batch_id)
        own.database.execute(
            sa.update(jobs).where(jobs.c.batch_id == batch_id).values(status="expired", finished_at=sa.func.now())
        )
        restarted_while(own, ledger, "SHARE", "INSERT INTO files", lambda: clerk)
        until_so(lambda: status_of(own, batch_id) == "completed")

        assert read == list(range(LINES))
        assert told(own, batch_id) == ["validating", "in_progress", "finalizing", "completed"]
        written = own.database.execute(sa.select(files.c.id).where(files.c.purpose == "batch_output"))
        assert [row.id for row in written] == [row_of(own, batch_id).error_file_id]
        assert not clerk.has_ended


def restarted_while(
    stack: Stack, ledger: EmbeddedPostgres, mode: str, doing: str, start: Callable[[], Process]
) -> Process:
    """Restart Postgres when the clerk waits for the files; the lock goes with it."""
    locking = psycopg.connect(ledger.database_url("safelight"))
    locking.execute(f"LOCK TABLE files IN {mode} MODE")
    clerk = start()
    until_it_waits(stack, doing)
    ledger.kill()
    with suppress(psycopg.Error):
        locking.rollback()
    locking.close()
    ledger.start()
    stack.database.engine.dispose()
    free_leases(stack)
    return clerk


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


def test_a_long_batch_keeps_its_clerk_and_holds_up_no_other(own: Stack) -> None:
    """The clerk is one thread: what it reads, inserts or writes for long must not hold up a wish to cancel."""
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

    clerk = Clerk(own.settings)
    for _ in Held(own.database, row, clerk.move_on, renewal=0.0).renewing(reading()):
        seen.append(status_of(own, waiting))
    moved = clerk.admit(
        Held(own.database, row, lambda: in_copy.append(bool(own.database.execute(copying))), renewal=0.0)
    )
    clerk.close()

    assert seen == ["in_progress", "cancelling", "finalizing"]
    assert (moved.status, True in in_copy) == ("in_progress", True)
