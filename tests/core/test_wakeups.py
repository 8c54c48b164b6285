"""An idle worker begins on a wake-up, without a message or a poll; one that is paused leaves it to the others."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Semaphore

import pytest

from cli.local.embedded import EmbeddedValkey
from core.db import Database
from core.redis.connection import connect
from core.redis.wakeups import Wakeups, wakeup_key
from tests.factories import job_row, submit_prompts
from tests.stack import CATALOG, settings_of
from tests.waiting import until
from worker.generation.context import Context
from worker.generation.wakeup_thread import WakeupThread
from worker.moderation.moderator import Moderator


@dataclass
class Idle:
    """A worker with two threads that gets nothing but wake-ups."""

    context: Context
    pool: ThreadPoolExecutor
    thread: WakeupThread
    wakeups: Wakeups

    @property
    def entries(self) -> int:
        """The wake-ups that nobody has taken."""
        with connect(self.context.settings) as redis:
            return int(redis.llen(wakeup_key("local")))


@pytest.fixture
def idle(database: Database, valkey: EmbeddedValkey, tmp_path: Path) -> Iterator[Idle]:
    catalog = tmp_path / "catalog.toml"
    catalog.write_text(CATALOG)
    settings = settings_of(
        {
            "SAFELIGHT_DATABASE_URL": database.engine.url.render_as_string(hide_password=False),
            "SAFELIGHT_REDIS_URL": f"{valkey.url.rstrip('/')}/9",  # where no other worker of the tests waits
            "SAFELIGHT_DATA_DIR": str(tmp_path),
            "SAFELIGHT_CATALOG": str(catalog),
        }
    )
    context, wakeups = Context.open(settings, Moderator([])), Wakeups(settings)
    with ThreadPoolExecutor(2) as pool:
        thread = WakeupThread(context, ["other", "local"], lambda target, arguments: pool.submit(target, *arguments), 2)
        thread.start()
        yield Idle(context, pool, thread, wakeups)
        context.drain.begin(0)
        wakeups.send("local")
        thread.join()
    context.database.close()


def test_a_wake_up_is_enough_to_begin(database: Database, idle: Idle) -> None:
    (job_id,) = submit_prompts(database, "a cat")
    assert idle.wakeups.send("local")

    until(lambda: job_row(database, job_id).status == "completed")
    until(lambda: not idle.entries)


def test_a_paused_worker_leaves_wake_ups_to_the_others(database: Database, idle: Idle) -> None:
    idle.thread.is_selected = False
    (job_id,) = submit_prompts(database, "a cat")
    idle.wakeups.send("local")  # the request under way gets it
    idle.wakeups.send("local")
    until(lambda: idle.entries == 1)

    assert job_row(database, job_id).status == "queued"
    idle.thread.is_selected = True
    until(lambda: job_row(database, job_id).status == "completed")


def test_a_worker_whose_threads_all_run_messages_leaves_wake_ups_to_the_others(database: Database, idle: Idle) -> None:
    have_begun, may_end = Semaphore(0), Event()

    def run_message() -> None:
        with idle.context.pool_threads.busy():
            have_begun.release()
            may_end.wait()

    for _ in range(2):
        idle.pool.submit(run_message)
    for _ in range(2):
        have_begun.acquire()
    (job_id,) = submit_prompts(database, "a cat")
    try:
        idle.wakeups.send("local")
        until(lambda: idle.entries == 1)
        assert job_row(database, job_id).status == "queued"
    finally:
        may_end.set()
    until(lambda: job_row(database, job_id).status == "completed")
