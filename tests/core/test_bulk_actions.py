"""Cancel and retry by filter: what is counted is changed, once, in bounded steps, and nothing else."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa

from core import bulk_actions, jobs, submits, tables
from core.batches import transitions as batches
from core.batches.transitions import NewBatch
from core.catalog import Catalog, load_catalog
from core.db import Database
from core.errors import InvalidParameter
from core.fine_tuning.rows import FineTunedModelRow
from core.generation_errors import GenerationError, GeneratorFailed, OutOfMemory
from core.ids import new_id
from core.parameters.loras import Lora
from core.requests.bulk import BulkAction, BulkStatus, BulkToken, JobFilter, decode_token
from core.rows.job import JobRow
from core.settings import Settings
from core.status import JobStatus
from core.tables import DEFAULT_PROJECT
from tests.factories import a_job, a_project, claim, in_state, job_row
from tests.stack import CATALOG
from tests.waiting import until


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    path = tmp_path / "catalog.toml"
    path.write_text(CATALOG)
    return load_catalog(path)


def a_failed_job(database: Database, error: GenerationError, **fields: object) -> str:
    job, lease = a_job(microbatch_size=1, **fields), uuid4()
    database.execute(submits.submit(job))
    database.execute(claim(lease))
    database.execute(jobs.fail(job.id, lease, error))
    return job.id


def token_of(database: Database, action: BulkAction, **fields: object) -> tuple[int, BulkToken]:
    selection = JobFilter.model_validate(fields)
    (row,) = database.execute(bulk_actions.count(action, selection))
    token = BulkToken(action=action, filter=selection, until=row.now)
    return row.jobs, decode_token(token.encode(), token.action)


def cancel_step(database: Database, token: BulkToken) -> list[JobRow]:
    job_ids, following = bulk_actions.next_cancel(token, database.execute(bulk_actions.list_open(token)))
    assert following is None
    return database.execute(jobs.cancel_named_jobs(job_ids))


def retry_step(database: Database, token: BulkToken, catalog: Catalog) -> tuple[list[str], BulkToken | None]:
    job_ids, following = bulk_actions.next_token(token, database.execute(bulk_actions.list_ended(token)))
    rows = database.execute(bulk_actions.list_jobs(job_ids))
    inputs = database.execute(bulk_actions.list_inputs(rows))
    new_jobs, _ = bulk_actions.plan_retries(rows, inputs, (), (), catalog, Settings())
    new_rows = [row for statement in bulk_actions.submits(new_jobs) for row in database.execute(statement)]
    return sorted(row.retried_from or "" for row in new_rows), following


def test_a_cancel_takes_what_was_counted_and_nothing_that_came_later(database: Database) -> None:
    other = a_project(database, "other")
    running, _ = in_state(database, JobStatus.IN_PROGRESS)
    meant = a_job(metadata={"run": "7"}, project_id=other)
    database.execute(submits.submit(meant, a_job(), a_job(queue="elsewhere", metadata={"run": "7"})))

    assert token_of(database, "cancel")[0] == 4
    assert token_of(database, "cancel", status=["in_progress"])[0] == 1
    number, token = token_of(database, "cancel", metadata={"run": "7"}, queue="local", project_id=other)
    late = a_job(metadata={"run": "7"}, project_id=other)
    database.execute(submits.submit(late))
    rows = cancel_step(database, token)

    assert (number, [(row.id, row.status) for row in rows]) == (1, [(meant.id, "cancelled")])
    assert cancel_step(database, token) == []
    assert job_row(database, late.id).status == "queued"
    _, token = token_of(database, "cancel", status=["in_progress"])
    (stopped,) = cancel_step(database, token)
    assert (stopped.id, stopped.status) == (running, "in_progress")
    assert stopped.cancel_requested_at is not None


def test_a_cancel_reads_some_jobs_a_step_and_comes_to_the_last_one(database: Database) -> None:
    others = [a_job(queue=queue) for queue in ("a", "b", "a")]
    meant = [a_job(queue=queue, metadata={"run": "7"}) for queue in ("a", "b", "c", "b")]
    database.execute(submits.submit(*others, *meant))

    cancelled: list[str] = []
    steps = 0
    _, token = token_of(database, "cancel", metadata={"run": "7"})
    following: BulkToken | None = token
    while following is not None:
        token = decode_token(following.encode(), "cancel")
        job_ids, following = bulk_actions.next_cancel(token, database.execute(bulk_actions.list_open(token, 2)), 2)
        cancelled += [row.id for row in database.execute(jobs.cancel_named_jobs(job_ids))]
        steps += 1

    assert (sorted(cancelled), steps) == (sorted(job.id for job in meant), 4)


def test_a_cancel_waits_for_a_job_that_another_transaction_has_locked(database: Database) -> None:
    job = a_job()
    database.execute(submits.submit(job))
    waiting = sa.text("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")

    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as transaction:
            transaction.execute(sa.select(tables.jobs.c.id).where(tables.jobs.c.id == job.id).with_for_update())
            step = threads.submit(cancel_step, database, token_of(database, "cancel")[1])
            until(lambda: step.done() or database.execute(waiting))
        assert [row.id for row in step.result()] == [job.id]


def test_a_retry_leaves_out_jobs_of_a_queue_that_drains(database: Database, catalog: Catalog) -> None:
    rows = database.execute(bulk_actions.list_jobs([a_failed_job(database, OutOfMemory())]))

    new_jobs, skipped_jobs = bulk_actions.plan_retries(rows, (), {rows[0].queue}, (), catalog, Settings())
    assert (new_jobs, skipped_jobs) == ([], {"queue_draining": 1})


def test_a_retry_repeats_jobs_of_fine_tuned_models_of_their_own_project(database: Database) -> None:
    entry = {"id": "base", "generator": "diffusers_local", "sizes": ["64x64"], "fine_tuning": {}}
    catalog = Catalog.model_validate({"default": "base", "models": [entry]})
    (row,) = database.execute(bulk_actions.list_jobs([a_failed_job(database, OutOfMemory())]))
    loras = [Lora(name="ft:base:proj_default::1", weight=1.0)]
    parameters = row.parameters.model_copy(update={"loras": loras, "size": "64x64"})
    tuned = replace(row, model="base", parameters=parameters)
    fields: Any = (row.project_id, "ftjob-1", "base", None, 1, {}, "key", 1, "0", row.created_at)
    model = FineTunedModelRow(loras[0].name, *fields)

    assert not database.execute(bulk_actions.list_fine_tuned([tuned]))
    for models, project_id, count in (([model], row.project_id, 1), ([model], "proj_b", 0), ([], row.project_id, 0)):
        rows = [replace(tuned, project_id=project_id)]
        new_jobs, skipped_jobs = bulk_actions.plan_retries(rows, (), (), models, catalog, Settings())
        assert (len(new_jobs), skipped_jobs.total()) == (count, 1 - count)


def test_a_retry_submits_each_failed_job_once_in_its_own_project(database: Database, catalog: Catalog) -> None:
    other = a_project(database, "other")
    one = a_failed_job(database, OutOfMemory())
    two = a_failed_job(database, OutOfMemory(), project_id=other)
    a_failed_job(database, GeneratorFailed())
    a_failed_job(database, OutOfMemory(), model="gone")
    in_state(database, JobStatus.CANCELLED)

    number, token = token_of(database, "retry", error_code="out_of_memory")
    assert number == 3
    assert retry_step(database, token, catalog) == (sorted([one, two]), None)
    assert retry_step(database, token, catalog) == ([], None)
    table = tables.jobs.c
    (repetition,) = database.execute(sa.select(table.project_id, table.seed).where(table.retried_from == two))
    assert tuple(repetition) == (other, 7)
    assert token_of(database, "retry", error_code="out_of_memory")[0] == 1


def test_a_retry_goes_from_status_to_status(database: Database, catalog: Catalog) -> None:
    first, _ = in_state(database, JobStatus.FAILED)
    second, _ = in_state(database, JobStatus.CANCELLED)

    number, token = token_of(database, "retry", status=["cancelled", "expired", "failed"])
    retries: list[str] = []
    steps = 0
    following: BulkToken | None = token
    while following is not None:
        job_ids, following = retry_step(database, decode_token(following.encode(), "retry"), catalog)
        retries, steps = retries + job_ids, steps + 1

    assert (number, sorted(retries), steps) == (2, sorted([first, second]), 3)


def test_lines_of_batches_are_retried_only_if_their_batch_is_named(database: Database, catalog: Catalog) -> None:
    job_id = a_failed_job(database, OutOfMemory())
    line = {"batch_id": "batch_1", "batch_index": 0, "custom_id": "1", "response_format": "url"}
    database.execute(sa.update(tables.jobs).where(tables.jobs.c.id == job_id).values(line))

    assert token_of(database, "retry")[0] == 0
    number, token = token_of(database, "retry", batch_id="batch_1")
    assert (number, retry_step(database, token, catalog)[0]) == (1, [job_id])


def test_lines_that_their_owner_has_retried_as_a_batch_are_left_out(database: Database) -> None:
    batch = NewBatch(project_id=DEFAULT_PROJECT, endpoint="/v1/jobs", completion_window=timedelta(days=1))
    database.execute(batches.submit(batch, 10))
    job_id = a_failed_job(database, OutOfMemory())
    line = {"batch_id": batch.id, "batch_index": 0, "custom_id": "1", "response_format": "url"}
    database.execute(sa.update(tables.jobs).where(tables.jobs.c.id == job_id).values(line))

    assert token_of(database, "retry", batch_id=batch.id)[0] == 1
    database.execute(batches.submit(replace(batch, id=new_id("batch"), retried_from=batch.id), 10))
    assert token_of(database, "retry", batch_id=batch.id)[0] == 0


@pytest.mark.parametrize("text", ["", "x", "e30=", "\ud800".encode("utf-8", "replace").decode()])
def test_a_token_that_no_answer_had_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match="token must be"):
        decode_token(text, "cancel")


@pytest.mark.parametrize(
    ("action", "status"), [("retry", "queued"), ("retry", "expired"), ("cancel", "failed"), ("cancel", "expired")]
)
def test_a_token_has_a_status_of_its_filter(action: BulkAction, status: BulkStatus) -> None:
    token = BulkToken(action=action, filter=JobFilter(), until=datetime.now(UTC), status=status)

    with pytest.raises(InvalidParameter, match="token must be"):
        decode_token(token.encode(), action)


def test_a_token_is_for_one_action(database: Database) -> None:
    _, token = token_of(database, "retry")

    with pytest.raises(InvalidParameter, match="belongs to the action retry"):
        decode_token(token.encode(), "cancel")
    with pytest.raises(InvalidParameter, match="to cancel jobs it must be one of queued, in_progress"):
        bulk_actions.count("cancel", JobFilter(status=["failed"]))
