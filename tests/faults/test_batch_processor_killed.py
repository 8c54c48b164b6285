"""The batch processor is killed at every point where it may die: each batch is read once and ends once.

A real process is stopped at each point from outside, as `batch_processors.py` says. Only the rest of a dead batch
processor's lease is cut short. The tests print their figures (`pytest -s`).
"""

from pathlib import Path

import sqlalchemy as sa

from core.tables import batches, files, job_events, jobs
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
from tests.faults.batch_processors import (
    LINES,
    end_leases,
    kill_at_last_statement,
    kill_at_statement,
    next_processor,
    orphan_keys,
    row_lock,
    sweep_files,
    table_lock,
)
from tests.images import upload
from tests.stack import Stack
from tests.waiting import until


def test_a_processor_killed_while_it_reads_leaves_all_of_the_batch_to_the_next(own: Stack) -> None:
    own.api()
    own.environment["SAFELIGHT_MAX_BATCH_ATTEMPTS"] = "9"
    own.submit(model="elsewhere")
    batch_id = submit_file(own, LINES, model="elsewhere")

    with table_lock(own, "files", "ACCESS EXCLUSIVE"):
        kill_at_statement(own, own.sweep(), "FROM files")
    before = (batch_status(own, batch_id), len(job_indexes(own, batch_id)))
    with row_lock(own, batch_id, LINES // 2):
        kill_at_statement(own, next_processor(own), "COPY jobs")
    in_copy = (batch_status(own, batch_id), len(job_indexes(own, batch_id)))
    kill_at_last_statement(own, next_processor(own), batch_id, "COPY jobs", row_lock(own, batch_id, LINES - 1))
    after_copy = (batch_status(own, batch_id), len(job_indexes(own, batch_id)))
    processor = next_processor(own)
    until(lambda: batch_status(own, batch_id) == "in_progress")
    processor.kill()

    assert before == in_copy == after_copy == ("validating", 0)
    assert job_indexes(own, batch_id) == list(range(LINES))
    assert batch_event_types(own, batch_id) == ["validating", "in_progress"]
    print(f"killed while reading, at row {LINES // 2} of COPY, after it and after its commit: {LINES} lines, once each")


def test_a_batch_that_ends_its_processor_each_time_fails_and_delays_no_other(own: Stack) -> None:
    own.api()
    own.submit(model="elsewhere")
    poisoned_batch = submit_file(own, 20, model="elsewhere")
    other_batch = submit_file(own, 5, model="elsewhere")
    processor, statuses = own.sweep(), []

    for _ in range(own.settings.max_batch_attempts):
        with row_lock(own, poisoned_batch, 10):
            kill_at_statement(own, processor, "COPY jobs")
        statuses.append((batch_status(own, poisoned_batch), batch_status(own, other_batch)))
        processor = next_processor(own)
    batch = until_batch(own, poisoned_batch)

    assert statuses == [("validating", "validating"), ("validating", "in_progress")]
    (error,) = batch["errors"]["data"]
    assert (batch["status"], error["code"], error["line"]) == ("failed", "batch_processing_failed", None)
    assert error["message"] == "2 attempts of reading its lines failed; the log of the sweep has the reason."
    assert batch_event_types(own, poisoned_batch) == ["validating", "failed"]
    assert job_indexes(own, poisoned_batch) == []
    assert job_indexes(own, other_batch) == list(range(5))


def test_a_processor_that_is_stopped_in_order_loses_no_attempt(own: Stack) -> None:
    own.api()
    batch_id = submit_file(own, 20_000, model="elsewhere")

    processor = own.sweep()
    until(lambda: batch_row(own, batch_id).lease is not None)
    processor.terminate()
    stopped = batch_row(own, batch_id)
    own.sweep()
    until(lambda: batch_status(own, batch_id) == "in_progress")

    assert (stopped.status, stopped.attempts) == ("validating", 0)
    assert len(job_indexes(own, batch_id)) == 20_000


def test_a_batch_that_fails_in_another_way_each_time_fails_with_a_reason(own: Stack) -> None:
    own.api()
    prompts = upload(own, b"a cat", "prompts.txt", purpose="batch")["id"]
    unreadable = submit_batch(own, input_file_id=prompts, model="elsewhere")["id"]
    unwritable = submit_batch(own, prompts=["a cat"], model="elsewhere", size="64x64")["id"]
    own.database.execute(sa.update(batches).where(batches.c.id == unreadable).values(endpoint="/v1/nothing"))
    broken_job = sa.update(jobs).where(jobs.c.batch_id == unwritable)
    own.database.execute(broken_job.values(status="completed", finished_at=sa.func.now(), parameters=[1]))
    own.sweep()

    until(lambda: [batch_row(own, name).attempts for name in (unreadable, unwritable)] == [1, 1])
    end_leases(own)

    for batch_id, work in ((unreadable, "reading its lines"), (unwritable, "writing its output files")):
        batch = until_batch(own, batch_id)
        assert (batch["status"], batch["errors"]["data"][0]["code"]) == ("failed", "batch_processing_failed")
        assert work in batch["errors"]["data"][0]["message"]
        assert batch_event_types(own, batch_id)[-1] == "failed"
    assert batch["request_counts"]["completed"] == 1


def test_a_processor_killed_while_it_stops_5000_jobs_leaves_the_rest_to_the_next(own: Stack) -> None:
    own.api()
    batch_id = submit_batch(own, prompts=[f"{n}" for n in range(5000)], model="elsewhere", size="64x64")["id"]
    own.client.post(f"/v1/batches/{batch_id}/cancel")
    cancelled_count = sa.select(sa.func.count()).where(jobs.c.batch_id == batch_id, jobs.c.status == "cancelled")
    last = sa.select(jobs.c.id).where(jobs.c.batch_id == batch_id, jobs.c.batch_index == 2500)
    counts = []

    with table_lock(own, "job_events"):
        kill_at_statement(own, own.sweep(), "cancel_requested_at")
        counts.append(own.database.execute(cancelled_count)[0][0])
    processor = next_processor(own)
    with own.database.transaction() as connection:
        connection.execute(last.with_for_update())
        until(lambda: own.database.execute(cancelled_count)[0][0] == 4999)
        processor.kill()
        counts.append(own.database.execute(cancelled_count)[0][0])
        still = batch_status(own, batch_id)
    next_processor(own)
    batch = until_batch(own, batch_id)

    assert (counts, still) == ([0, 4999], "cancelling")
    assert batch["status"] == "cancelled"
    assert {name: n for name, n in batch["request_counts"].items() if n} == {"total": 5000, "cancelled": 5000}
    events = sa.select(sa.func.count()).select_from(job_events).where(job_events.c.type == "job.cancelled")
    assert own.database.execute(events)[0][0] == 5000
    assert batch_event_types(own, batch_id) == ["in_progress", "cancelling", "finalizing", "cancelled"]
    assert len(file_lines(own, batch["error_file_id"])) == 5000
    assert batch["output_file_id"] is None
    print(f"killed after {counts} of 5000 were stopped: each has one event, and a line in the error file")


def test_a_processor_killed_while_it_writes_leaves_one_pair_of_files(own: Stack) -> None:
    own.api()
    own.environment["SAFELIGHT_MAX_BATCH_ATTEMPTS"] = "9"
    requests = [{"prompt": f"cat {n}", "size": "64x64"} for n in range(6)]
    requests[2] = {"prompt": "b", "model": "elsewhere", "size": "64x64"}
    batch_id = submit_batch(own, requests=requests, response_format="b64_json")["id"]
    reader = own.sweep()
    worker = own.worker()
    until(lambda: own.client.get(f"/v1/batches/{batch_id}").json()["request_counts"]["completed"] == 5)
    reader.kill()
    worker.terminate()
    job = own.client.get(f"/v1/jobs?batch_id={batch_id}&order=asc").json()["data"][4]
    for image in Path(own.directory, "images", "jobs", job["id"]).rglob("*.png"):
        image.unlink()
    expire_jobs(own, batch_id)

    with table_lock(own, "images", "ACCESS EXCLUSIVE"):
        kill_at_statement(own, next_processor(own), "images")
        while_writing = batch_status(own, batch_id)
    with table_lock(own, "files"):
        kill_at_statement(own, next_processor(own), "INSERT INTO files")
    kill_at_last_statement(own, next_processor(own), batch_id, "INSERT INTO files", table_lock(own, "files"))
    next_processor(own)
    batch = until_batch(own, batch_id)

    assert (while_writing, batch["status"], batch["request_counts"]["total"]) == ("finalizing", "completed", 6)
    outputs, errors = (file_lines(own, batch[name]) for name in ("output_file_id", "error_file_id"))
    assert [line["custom_id"] for line in outputs] == ["line-1", "line-2", "line-4", "line-5", "line-6"]
    assert [line["custom_id"] for line in errors] == ["line-3"]
    assert [line["error"] and line["error"]["code"] for line in outputs] == [None, None, None, "image_gone", None]
    assert batch_event_types(own, batch_id) == ["validating", "in_progress", "finalizing", "completed"]
    rows = own.database.execute(sa.select(files).where(files.c.purpose == "batch_output"))
    assert {row.id for row in rows} == {batch["output_file_id"], batch["error_file_id"]}

    orphans = orphan_keys(own)
    assert len(orphans) == 4, "two dead batch processors had written both"
    sweep_files(own)
    assert orphan_keys(own) == set()
    assert file_lines(own, batch["output_file_id"]) == outputs
    print(f"killed thrice while writing: 2 files with rows, {len(orphans)} without, which the sweep deleted")
