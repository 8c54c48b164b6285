"""The sweep goes on: while it deletes much, without its connections, after another sweep's death, after Postgres'.

Jobs are lost here without a worker: claimed by the test, under a lease that nobody renews.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa

from cli.local.embedded import EmbeddedPostgres, EmbeddedValkey
from core import leases
from core.tables import job_events, jobs
from tests.processes import Process
from tests.stack import Stack, migrate
from worker.sweep.cleanup import ORPHAN_AGE

ORPHANS = 20_000
SESSIONS = sa.text(
    "SELECT pid, application_name, state FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name IN ('safelight-sweep', 'safelight-cleanup')"
)
TERMINATE = sa.text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
    "AND application_name IN ('safelight-sweep', 'safelight-cleanup')"
)
LOCKS = sa.text(
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)

_numbers = count(1)


def orphans(stack: Stack, number: int) -> Path:
    """Put old files into the storage, of which no row knows; all at once, so that one round meets them all."""
    prepared = stack.directory / "prepared"
    prepared.mkdir()
    old = time.time() - ORPHAN_AGE.total_seconds() - 60
    for index in range(number):
        path = prepared / f"{index}.png"
        path.touch()
        os.utime(path, (old, old))
    place = stack.directory / "images" / "jobs"
    place.mkdir(parents=True, exist_ok=True)
    return prepared.rename(place / f"job_lost{next(_numbers)}")


def left(place: Path) -> int:
    return sum(1 for _ in place.iterdir()) if place.exists() else 0


def lose_a_job(stack: Stack) -> str:
    """Claim a job under a lease that runs out at once."""
    job_id = str(stack.submit()["id"])
    short = timedelta(milliseconds=1)
    (row,) = stack.database.execute(
        leases.claim("local", uuid4(), "of the test", length=short, attempt_timeout=timedelta(minutes=1))
    )
    assert row.id == job_id
    return job_id


def reclaim_seconds(stack: Stack) -> float:
    """How long after the end of its lease a lost job is in line again."""
    job_id = lose_a_job(stack)
    started = sa.select(job_events.c.created_at).where(
        job_events.c.job_id == job_id, job_events.c.type == "job.started"
    )
    (lost_at,) = stack.database.execute(started)[0]
    event = stack.until(job_id, "job.requeued")
    assert event["data"]["reason"] == "lease_expired"
    requeued = sa.select(job_events.c.created_at).where(
        job_events.c.job_id == job_id, job_events.c.type == "job.requeued"
    )
    (requeued_at,) = stack.database.execute(requeued)[0]
    stack.client.post(f"/v1/jobs/{job_id}/cancel")
    return float((requeued_at - lost_at).total_seconds())


@contextmanager
def sweeping(stack: Stack, **settings: str) -> Iterator[Process]:
    """A sweep that does its work."""
    with stack.apart():
        process = stack.sweep(**{"SAFELIGHT_CLEANUP": "0.5", **settings})
        process.until_says("reclaim: active")
        process.until_says("cleanup: active")
        yield process


def test_a_cleanup_of_many_files_delays_no_lost_job(own: Stack) -> None:
    own.api()
    with sweeping(own) as sweep:
        idle = [reclaim_seconds(own) for _ in range(5)]
        place = orphans(own, ORPHANS)
        sweep.until_says("deleted 500 objects")
        busy: list[float] = []
        while len(busy) < 5 and (rest := left(place)):
            busy.append(reclaim_seconds(own))
        states = {row.state for row in own.database.execute(SESSIONS)}
        assert sweep.terminate() == 0

    print(f"\nlost jobs taken back after {max(idle):.2f} s, during a cleanup {max(busy):.2f} s; {rest} files were left")
    assert max(busy) < 2 * max(idle)
    assert "idle in transaction" not in states


def test_a_sweep_whose_sessions_postgres_ends_goes_on(own: Stack) -> None:
    own.api()
    with sweeping(own) as sweep:
        place = orphans(own, ORPHANS)
        sweep.until_says("deleted 500 objects")
        own.database.execute(TERMINATE)
        assert left(place) > 0

        rounds = 0
        while left(place) and rounds < 60:
            reclaim_seconds(own)
            rounds += 1
        assert (rounds > 0, left(place)) == (True, 0)
        assert own.database.execute(LOCKS)[0][0] == 3  # reclaim, cleanup, erasures
        assert sweep.terminate() == 0


def test_of_two_sweeps_the_second_takes_over(own: Stack) -> None:
    own.api()
    with sweeping(own) as first:
        second = own.sweep(SAFELIGHT_CLEANUP="0.5")
        second.until_says("reclaim: standby")
        second.until_says("cleanup: standby")
        reclaim_seconds(own)
        assert "lease ran out" not in second.output()

        first.kill()
        reclaim_seconds(own)
        second.until_says("lease ran out")
        second.until_says("cleanup: active")


def test_a_frozen_sweep_is_replaced_and_stands_by_when_it_wakes(own: Stack) -> None:
    own.api()
    with sweeping(own) as first:
        second = own.sweep()
        second.until_says("reclaim: standby")

        first.freeze()
        reclaim_seconds(own)
        second.until_says("lease ran out")
        first.thaw()

        first.until_says("reclaim: standby")


def test_an_error_that_nobody_foresaw_ends_no_loop(own: Stack) -> None:
    own.api()
    with sweeping(own) as sweep:
        own.database.execute(sa.text("ALTER TABLE jobs RENAME TO elsewhere"))
        sweep.until_says("reclaim failed and goes on")
        sweep.until_says("cleanup failed and goes on")
        own.database.execute(sa.text("ALTER TABLE elsewhere RENAME TO jobs"))

        reclaim_seconds(own)
        assert sweep.terminate() == 0


def test_a_sweep_outlives_a_restart_of_postgres(directory: Path, valkey: EmbeddedValkey) -> None:
    place = directory / f"sweep{next(_numbers)}"
    with EmbeddedPostgres(place / "pg") as postgres:
        url = postgres.create_database("safelight")
        migrate(url)
        with Stack(place / "stack", url, valkey.url.removesuffix("/0") + "/4") as stack:
            stack.api()
            sweep = stack.sweep(SAFELIGHT_CLEANUP="0.5")
            sweep.until_says("cleanup: active")

            postgres.kill()
            sweep.until_says("reclaim: the database is unavailable")
            sweep.until_says("cleanup: the database is unavailable")
            postgres.start()

            reclaim_seconds(stack)
            assert stack.database.execute(sa.select(sa.func.count()).select_from(jobs))[0][0] == 1
            assert sweep.terminate() == 0
