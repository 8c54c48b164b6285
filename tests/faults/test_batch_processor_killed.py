"""The batch processor of batches is killed at every point where it may die: each batch is read once and ends once.

The points are reached by what stands around a real process, as in `test_webhooks_killed.py`: a table that somebody has
locked, a row that somebody else is about to insert. Only the time that a dead batch processor's lease has left is cut
short. What was found is printed (`pytest -s`).
"""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.storage import Storage
from core.tables import batch_events, batches, files, job_events, jobs
from tests.faults.test_webhooks import until as until_so
from tests.images import upload
from tests.processes import Process
from tests.stack import Stack
from tests.story.test_batches import jsonl, lines_of, numbered, submit, until
from worker.sweep.cleanup import ORPHAN_AGE, Cleanup

LINES = 2000


@contextmanager
def locked(stack: Stack, table: str, mode: str = "SHARE") -> Iterator[None]:
    """Let whoever would write to a table wait, or with ACCESS EXCLUSIVE whoever would read it."""
    with stack.database.transaction() as connection:
        connection.execute(sa.text(f"LOCK TABLE {table} IN {mode} MODE"))
        yield
        connection.rollback()


def until_it_waits(stack: Stack, doing: str) -> None:
    """Until the batch processor waits for a lock, in a statement with these words."""
    asked = sa.text(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND position(:doing IN query) > 0 "
        "AND application_name = 'safelight-batches' AND wait_event_type = 'Lock'"
    )
    until_so(lambda: bool(stack.database.execute(asked.bindparams(doing=doing))))


def kill_in(stack: Stack, processor: Process, doing: str) -> None:
    until_it_waits(stack, doing)
    processor.kill()


def kill_in_its_last_word(
    stack: Stack, processor: Process, batch_id: str, doing: str, before: AbstractContextManager[None]
) -> None:
    """Where all is written but the batch's row, which is locked once the batch processor waits `before`."""
    with stack.database.transaction() as connection:
        with before:
            until_it_waits(stack, doing)
            connection.execute(sa.select(batches.c.id).where(batches.c.id == batch_id).with_for_update())
        kill_in(stack, processor, "UPDATE batches SET status")
        connection.rollback()


def another(stack: Stack) -> Process:
    """The next batch processor, once the dead one's connections have ended and its leases have run out."""
    asked = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'safelight-batches'"
    )
    until_so(lambda: not stack.database.execute(sa.text(asked)))
    stack.database.execute(
        sa.update(batches).where(batches.c.lease.is_not(None)).values(lease_expires_at=sa.func.now())
    )
    return stack.sweep()


def find_source(stack: Stack, batch_id: str) -> sa.Row[Any]:
    (row,) = stack.database.execute(sa.select(batches).where(batches.c.id == batch_id))
    return row


def status_of(stack: Stack, batch_id: str) -> str:
    return str(find_source(stack, batch_id).status)


def lines_in(stack: Stack, batch_id: str) -> list[int]:
    found = stack.database.execute(sa.select(jobs.c.batch_index).where(jobs.c.batch_id == batch_id))
    return sorted(row.batch_index for row in found)


def told(stack: Stack, batch_id: str) -> list[str]:
    found = sa.select(batch_events.c.type).where(batch_events.c.batch_id == batch_id).order_by(batch_events.c.seq)
    return [row.type.removeprefix("batch.") for row in stack.database.execute(found)]


def from_a_file(stack: Stack, lines: int, **said: Any) -> str:
    file = upload(stack, jsonl(*numbered(lines, **said)), "batch.jsonl", purpose="batch")
    return str(submit(stack, input_file_id=file["id"], endpoint="/v1/images/generations")["id"])


def end_jobs(stack: Stack, batch_id: str) -> None:
    """As if they had waited too long, all of them: the quickest end."""
    late = sa.update(jobs).where(jobs.c.batch_id == batch_id, jobs.c.status == "queued")
    stack.database.execute(late.values(status="expired", finished_at=sa.func.now()))


def unspoken_of(stack: Stack) -> set[str]:
    """Objects under files/ that no row speaks of."""
    known = {row.storage_key for row in stack.database.execute(sa.select(files.c.storage_key))}
    return {found.key for found in Storage(stack.settings).list("files/")} - known


def tidy(stack: Stack, **settings: Any) -> None:
    """Sweep files in this process, all of them old enough."""
    old = time.time() - ORPHAN_AGE.total_seconds() - 60
    for path in Path(stack.directory, "images").rglob("*"):
        os.utime(path, (old, old))
    cleanup = Cleanup(stack.settings.model_copy(update=settings))
    cleanup.run_once()
    cleanup.close()


@contextmanager
def row_in_the_way(stack: Stack, batch_id: str, index: int) -> Iterator[None]:
    """Somebody is about to insert line `index` of a batch, so that its COPY waits in the middle."""
    with stack.database.transaction() as connection:
        columns = [column for column in jobs.c if column.computed is None]
        changed = {"id": "job_in_the_way", "batch_id": batch_id, "batch_index": index}
        values = [sa.literal(changed[column.name]) if column.name in changed else column for column in columns]
        like = sa.select(*values).limit(1)
        connection.execute(sa.insert(jobs).from_select([column.name for column in columns], like))
        yield
        connection.rollback()


def test_a_processor_killed_while_it_reads_leaves_all_of_the_batch_to_the_next(own: Stack) -> None:
    own.api()
    own.submit(model="elsewhere")
    batch_id = from_a_file(own, LINES, model="elsewhere")

    with locked(own, "files", "ACCESS EXCLUSIVE"):
        kill_in(own, own.sweep(), "FROM files")
    before = (status_of(own, batch_id), len(lines_in(own, batch_id)))
    with row_in_the_way(own, batch_id, LINES // 2):
        kill_in(own, another(own), "COPY jobs")
    in_copy = (status_of(own, batch_id), len(lines_in(own, batch_id)))
    kill_in_its_last_word(own, another(own), batch_id, "COPY jobs", row_in_the_way(own, batch_id, LINES - 1))
    after_copy = (status_of(own, batch_id), len(lines_in(own, batch_id)))
    processor = another(own)
    until_so(lambda: status_of(own, batch_id) == "in_progress")
    processor.kill()

    assert before == in_copy == after_copy == ("validating", 0)
    assert lines_in(own, batch_id) == list(range(LINES))
    assert told(own, batch_id) == ["validating", "in_progress"]
    print(f"killed while reading, at row {LINES // 2} of COPY, after it and after its commit: {LINES} lines, once each")


def test_a_processor_killed_while_it_stops_5000_jobs_leaves_the_rest_to_the_next(own: Stack) -> None:
    own.api()
    batch_id = submit(own, prompts=[f"{n}" for n in range(5000)], model="elsewhere", size="64x64")["id"]
    own.client.post(f"/v1/batches/{batch_id}/cancel")
    stopped = sa.select(sa.func.count()).where(jobs.c.batch_id == batch_id, jobs.c.status == "cancelled")
    last = sa.select(jobs.c.id).where(jobs.c.batch_id == batch_id, jobs.c.batch_index == 2500)
    seen = []

    with locked(own, "job_events"):
        kill_in(own, own.sweep(), "cancel_requested_at")
        seen.append(own.database.execute(stopped)[0][0])
    processor = another(own)
    with own.database.transaction() as connection:
        connection.execute(last.with_for_update())
        until_so(lambda: own.database.execute(stopped)[0][0] == 4999)
        processor.kill()
        seen.append(own.database.execute(stopped)[0][0])
        still = status_of(own, batch_id)
    another(own)
    done = until(own, batch_id)

    assert (seen, still) == ([0, 4999], "cancelling")
    assert done["status"] == "cancelled"
    assert {name: n for name, n in done["request_counts"].items() if n} == {"total": 5000, "cancelled": 5000}
    events = sa.select(sa.func.count()).select_from(job_events).where(job_events.c.type == "job.cancelled")
    assert own.database.execute(events)[0][0] == 5000
    assert told(own, batch_id) == ["in_progress", "cancelling", "finalizing", "cancelled"]
    assert len(lines_of(own, done["error_file_id"])) == 5000
    assert done["output_file_id"] is None
    print(f"killed after {seen} of 5000 were stopped: each has one event, and a line in the error file")


def test_a_processor_killed_while_it_writes_leaves_one_pair_of_files(own: Stack) -> None:
    own.api()
    requests = [{"prompt": f"cat {n}", "size": "64x64"} for n in range(6)]
    requests[2] = {"prompt": "b", "model": "elsewhere", "size": "64x64"}
    batch_id = submit(own, requests=requests, response_format="b64_json")["id"]
    reader = own.sweep()
    worker = own.worker()
    until_so(lambda: own.client.get(f"/v1/batches/{batch_id}").json()["request_counts"]["completed"] == 5)
    reader.kill()
    worker.terminate()
    gone = own.client.get(f"/v1/jobs?batch_id={batch_id}&order=asc").json()["data"][4]
    for image in Path(own.directory, "images", "jobs", gone["id"]).rglob("*.png"):
        image.unlink()
    end_jobs(own, batch_id)

    with locked(own, "images", "ACCESS EXCLUSIVE"):
        kill_in(own, another(own), "images")
        while_writing = status_of(own, batch_id)
    with locked(own, "files"):
        kill_in(own, another(own), "INSERT INTO files")
    kill_in_its_last_word(own, another(own), batch_id, "INSERT INTO files", locked(own, "files"))
    another(own)
    done = until(own, batch_id)

    assert (while_writing, done["status"], done["request_counts"]["total"]) == ("finalizing", "completed", 6)
    outputs, errors = (lines_of(own, done[name]) for name in ("output_file_id", "error_file_id"))
    assert [line["custom_id"] for line in outputs] == ["line-1", "line-2", "line-4", "line-5", "line-6"]
    assert [line["custom_id"] for line in errors] == ["line-3"]
    assert [line["error"] and line["error"]["code"] for line in outputs] == [None, None, None, "image_gone", None]
    assert told(own, batch_id) == ["validating", "in_progress", "finalizing", "completed"]
    written = own.database.execute(sa.select(files).where(files.c.purpose == "batch_output"))
    assert {row.id for row in written} == {done["output_file_id"], done["error_file_id"]}

    orphans = unspoken_of(own)
    assert len(orphans) == 4, "two dead batch processors had written both"
    tidy(own)
    assert unspoken_of(own) == set()
    assert lines_of(own, done["output_file_id"]) == outputs
    print(f"killed thrice while writing: 2 files with rows, {len(orphans)} without, which the sweep deleted")
