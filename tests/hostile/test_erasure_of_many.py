"""The erasure of 50,000 jobs goes in small steps: meanwhile another project submits jobs hardly more slowly."""

import itertools
import statistics
import threading
import time

import pytest
import sqlalchemy as sa

from core.erasures import records
from core.erasures.records import NewErasure
from core.tables import DEFAULT_PROJECT, job_events, jobs
from tests.stack import Stack
from worker.sweep.erase import Eraser

JOBS = 50_000
USER = "user-4711"
MAX_RATIO = 5.0
"""How many times as long as on an idle Safelight a submit may take, at the median."""


def copy_of_a_job(stack: Stack) -> None:
    """Insert JOBS final jobs with an event each, of one user."""
    job = stack.submit(model="elsewhere")
    stack.client.post(f"/v1/jobs/{job['id']}/cancel")
    columns = [column for column in jobs.c if column.computed is None]
    number = sa.func.generate_series(1, JOBS).table_valued("n").render_derived("numbers")
    changes = {
        "id": sa.literal("job_copy_") + sa.cast(number.c.n, sa.Text),
        "metadata": sa.literal({"user": USER}, sa.JSON),
    }
    values = [changes.get(column.key, column) for column in columns]
    copies = sa.select(*values).select_from(sa.join(jobs, number, sa.true())).where(jobs.c.id == job["id"])
    with stack.database.transaction() as transaction:
        transaction.execute(sa.text("SET LOCAL statement_timeout = 0"))
        transaction.execute(sa.insert(jobs).from_select([column.key for column in columns], copies))
        events = sa.select(jobs.c.id, sa.literal("job.queued")).where(jobs.c.id.like("job_copy_%"))
        transaction.execute(sa.insert(job_events).from_select(["job_id", "type"], events))


def submit_seconds(stack: Stack) -> float:
    started = time.perf_counter()
    stack.submit(model="elsewhere")
    return time.perf_counter() - started


@pytest.mark.hostile
def test_an_erasure_of_50000_jobs_goes_in_small_steps(own: Stack) -> None:
    own.api()
    copy_of_a_job(own)
    idle = statistics.median(submit_seconds(own) for _ in range(200))
    (row,) = own.database.execute(records.submit(NewErasure(DEFAULT_PROJECT, "user", USER)))
    eraser, steps, started = Eraser(own.settings), 0, time.perf_counter()

    def erase() -> None:
        nonlocal steps
        for _ in eraser.erase(row):
            steps += 1

    thread = threading.Thread(target=erase)
    thread.start()
    busy = [submit_seconds(own) for _ in itertools.takewhile(lambda _: thread.is_alive(), itertools.count())]
    thread.join()
    seconds = time.perf_counter() - started
    eraser.close()

    (row,) = own.database.execute(records.get(DEFAULT_PROJECT, row.id))
    print(
        f"{JOBS} jobs in {seconds:.1f} s and {steps} steps; a submit took {statistics.median(busy) * 1000:.1f} ms at "
        f"the median and {max(busy) * 1000:.0f} ms at most, {idle * 1000:.1f} ms while idle"
    )
    assert (row.counts["jobs"], row.finished_at is None, row.subject) == (JOBS, False, None)
    assert steps > JOBS // 500
    assert statistics.median(busy) < MAX_RATIO * idle
