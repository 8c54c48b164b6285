"""A batch processor is stopped at a chosen statement: a table is locked, or another row is about to be inserted."""

import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from core.storage import Storage
from core.tables import batches, files, jobs
from tests.processes import Process
from tests.stack import Stack
from tests.waiting import until
from worker.sweep.cleanup import ORPHAN_AGE, Cleanup

LINES = 2000


@contextmanager
def table_lock(stack: Stack, table: str, mode: str = "SHARE") -> Iterator[None]:
    """Make whoever writes to a table wait; with ACCESS EXCLUSIVE, also whoever reads it."""
    with stack.database.transaction() as connection:
        connection.execute(sa.text(f"LOCK TABLE {table} IN {mode} MODE"))
        yield
        connection.rollback()


@contextmanager
def row_lock(stack: Stack, batch_id: str, index: int) -> Iterator[None]:
    """Make a COPY wait in the middle: another transaction is about to insert line `index` of the batch."""
    with stack.database.transaction() as connection:
        columns = [column for column in jobs.c if column.computed is None]
        changes = {"id": "job_in_the_way", "batch_id": batch_id, "batch_index": index}
        values = [sa.literal(changes[column.key]) if column.key in changes else column for column in columns]
        copy = sa.select(*values).limit(1)
        connection.execute(sa.insert(jobs).from_select([column.key for column in columns], copy))
        yield
        connection.rollback()


def until_processor_waits(stack: Stack, words: str) -> None:
    """Until the batch processor waits for a lock, in a statement with these words."""
    activity = sa.text(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND position(:words IN query) > 0 "
        "AND application_name = 'safelight-batches' AND wait_event_type = 'Lock'"
    )
    until(lambda: bool(stack.database.execute(activity.bindparams(words=words))))


def kill_at_statement(stack: Stack, processor: Process, words: str) -> None:
    """Kill the batch processor while a statement with these words waits for a lock."""
    until_processor_waits(stack, words)
    processor.kill()


def kill_at_last_statement(
    stack: Stack, processor: Process, batch_id: str, words: str, lock: AbstractContextManager[None]
) -> None:
    """Kill it when all is written but the batch's row, which is locked while the processor waits for `lock`."""
    with stack.database.transaction() as connection:
        with lock:
            until_processor_waits(stack, words)
            connection.execute(sa.select(batches.c.id).where(batches.c.id == batch_id).with_for_update())
        kill_at_statement(stack, processor, "UPDATE batches SET status")
        connection.rollback()


def next_processor(stack: Stack) -> Process:
    """Start a batch processor once the dead one's connections are closed and its leases are over."""
    activity = (
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'safelight-batches'"
    )
    until(lambda: not stack.database.execute(sa.text(activity)))
    end_leases(stack)
    return stack.sweep()


def end_leases(stack: Stack) -> None:
    """End the lease of every batch, as if its time were over."""
    stack.database.execute(
        sa.update(batches).where(batches.c.lease.is_not(None)).values(lease_expires_at=sa.func.now())
    )


def orphan_keys(stack: Stack) -> set[str]:
    """The keys of objects under files/ that no row refers to."""
    keys = {row.storage_key for row in stack.database.execute(sa.select(files.c.storage_key))}
    return {item.key for item in Storage(stack.settings).list("files/")} - keys


def sweep_files(stack: Stack, **settings: Any) -> None:
    """Sweep files in this process, all of them old enough."""
    orphan_time = time.time() - ORPHAN_AGE.total_seconds() - 60
    for path in Path(stack.directory, "images").rglob("*"):
        os.utime(path, (orphan_time, orphan_time))
    cleanup = Cleanup(stack.settings.model_copy(update=settings))
    cleanup.run_once()
    cleanup.close()
