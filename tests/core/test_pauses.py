"""A pause of a queue, a worker or a host stops claims and nothing else, and the reports of queues say it."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest

from core import leases, pauses, queries, submits, workers
from core.batches import transitions as batches
from core.batches.transitions import NewBatch
from core.db import Database
from core.ids import new_id
from core.pauses import PauseKind
from core.reports import queue_reports
from core.responses.job import job_object
from core.tables import DEFAULT_PROJECT
from tests.factories import LEASE, LONG, a_job
from worker.batches.drains import drain_errors


def claim_as(database: Database, worker: str, queue: str = "local") -> int:
    """How many jobs a worker claims, with each of the three statements of a claim."""
    count = 0
    for options in ({}, {"fair_turn": True}, {"resident_models": ["fake"]}):
        rows = database.execute(leases.claim(queue, uuid4(), worker, length=LEASE, attempt_timeout=LONG, **options))
        count += len(rows)
    return count


@pytest.mark.parametrize(("kind", "name"), [("queue", "local"), ("worker", "gpu-3:4711"), ("worker", "gpu-3")])
def test_nothing_is_claimed_during_a_pause(database: Database, kind: PauseKind, name: str) -> None:
    database.execute(pauses.begin(kind, name, "paused"))
    database.execute(submits.submit(*(a_job(microbatch_size=1) for _ in range(3))))

    assert claim_as(database, "gpu-3:4711") == 0
    assert [row.name for row in database.execute(pauses.list_pauses())] == [name]

    assert database.execute(pauses.resume(kind, name))
    assert claim_as(database, "gpu-3:4711") == 3
    assert database.execute(pauses.resume(kind, name)) == []


def test_a_pause_of_another_queue_or_worker_stops_nothing(database: Database) -> None:
    for kind, name in (("queue", "gpu-3:4711"), ("queue", "gpu-3"), ("worker", "local"), ("worker", "gpu-30:4711")):
        database.execute(pauses.begin(kind, name, "draining"))  # type: ignore[arg-type]
    database.execute(submits.submit(*(a_job(microbatch_size=1) for _ in range(3))))

    assert claim_as(database, "gpu-3:4711") == 3


@pytest.mark.parametrize(("kind", "name", "claims"), [("queue", "local", 3), ("worker", "gpu-3", 0)])
def test_a_draining_queue_is_worked_off_and_a_draining_worker_claims_nothing(
    database: Database, kind: PauseKind, name: str, claims: int
) -> None:
    database.execute(submits.submit(*(a_job(microbatch_size=1) for _ in range(3))))
    database.execute(pauses.begin(kind, name, "draining"))

    assert claim_as(database, "gpu-3:4711") == claims


def test_a_worker_that_is_paused_or_drains_hears_it_and_serves_no_queue(database: Database) -> None:
    def state() -> str:
        (answer,) = database.execute(workers.announce("gpu-3:4711", ["local"], is_ready=True, length=LONG))
        return answer.state

    states = [state()]
    (job,) = database.execute(submits.submit(a_job()))
    assert [row.workers for row in database.execute(workers.count_by_queue())] == [1]
    for name, pause_state in (("gpu-3:4711", "paused"), ("gpu-3", "draining")):
        database.execute(pauses.begin("worker", name, pause_state))  # type: ignore[arg-type]
        states.append(state())

    assert states == ["running", "paused", "draining"]
    assert database.execute(workers.count_by_queue()) == []
    (row,) = database.execute(queries.get_job(DEFAULT_PROJECT, job.id))
    assert row.has_worker is False


def test_a_job_says_that_its_queue_is_paused(database: Database) -> None:
    (job,) = database.execute(submits.submit(a_job()))
    database.execute(pauses.begin("queue", "local", "paused"))
    (row,) = database.execute(queries.get_job(DEFAULT_PROJECT, job.id))

    shown = job_object(row, "", lambda image_id, _key: image_id)

    assert [warning.code for warning in shown.warnings] == ["queue_paused", "no_worker"]


def test_the_reports_have_the_jobs_that_wait_and_run(database: Database) -> None:
    database.execute(submits.submit(*(a_job(microbatch_size=1) for _ in range(3)), a_job(queue="other")))
    database.execute(workers.announce("gpu-3:4711", ["local"], is_ready=True, length=LONG))
    (claimed,) = database.execute(leases.claim("local", uuid4(), "gpu-3:4711", length=LEASE, attempt_timeout=LONG))

    local, other = database.execute(queue_reports.list_queues())
    (worker,) = database.execute(queue_reports.list_workers())

    assert (local.queue, local.depth, local.in_progress) == ("local", 2, 1)
    assert (other.queue, other.depth, other.in_progress) == ("other", 1, 0)
    assert local.oldest_at is not None
    assert local.now >= local.oldest_at
    assert (worker.job_ids, worker.models) == ([claimed.id], ["fake"])
    assert (worker.started_at, worker.lease_expires_at) == (claimed.started_at, claimed.lease_expires_at)
    assert database.execute(pauses.find("queue", "other"))
    assert database.execute(pauses.find("worker", "gpu-3"))
    assert not database.execute(pauses.find("worker", "gpu-4"))


def test_a_batch_file_that_came_during_the_drain_of_its_queue_is_refused(database: Database) -> None:
    new = NewBatch(project_id=DEFAULT_PROJECT, endpoint="/v1/jobs", completion_window=timedelta(days=1))
    database.execute(pauses.begin("queue", "local", "paused"))
    (older,) = database.execute(batches.submit(new, 10))
    database.execute(pauses.begin("queue", "local", "draining"))
    (batch,) = database.execute(batches.submit(replace(new, id=new_id("batch")), 10))
    (retry,) = database.execute(batches.submit(replace(new, id=new_id("batch"), retried_from=older.id), 10))
    database.execute(pauses.begin("queue", "local", "draining"))

    assert [error["code"] for error in drain_errors(database, batch, {"local"})] == ["queue_draining"]
    assert drain_errors(database, batch, {"other"}) == []
    assert drain_errors(database, older, {"local"}) == []
    assert drain_errors(database, retry, {"local"}) == []
