"""A deliverer is killed at every point where it may die, and every event arrives.

A real process is stopped at each point from outside: by a receiver that does not answer, or by a locked table.
`SAFELIGHT_TEST_ROUNDS=100` kills a hundred times. The test prints its figures (`pytest -s`).
"""

import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from standardwebhooks.webhooks import Webhook

from core import jobs, submits
from core.db import Database
from core.outbox import attempts, signing
from core.tables import DEFAULT_PROJECT, job_events
from core.tables import webhook_deliveries as table
from core.webhooks import endpoints as webhooks
from tests.deliveries import delivering, list_deliveries, settings_for
from tests.factories import a_job
from tests.processes import Process, python
from tests.receiver import Receiver, answering, hang
from tests.waiting import until

ROUNDS = int(os.environ.get("SAFELIGHT_TEST_ROUNDS", "10"))


CHANCE = random.Random()  # noqa: S311 - moments, no secrets

CONNECTED = """
    SELECT 1 FROM pg_stat_activity
    WHERE application_name = 'safelight-deliver' AND datname = current_database()
"""


@dataclass(frozen=True)
class Place:
    """A database, a receiver, and how to start a deliverer between them."""

    database: Database
    directory: Path
    receiver: Receiver
    start: Callable[[], Process]

    def cause(self) -> None:
        """An event."""
        job = a_job()
        self.database.execute(submits.submit(job))
        self.database.execute(jobs.cancel(DEFAULT_PROJECT, job.id))

    def deliver_what_waits(self) -> None:
        """Make the claims of dead deliverers due once their connections are closed, and wait until all is delivered."""
        until(lambda: not self.request(CONNECTED))
        self.database.execute(sa.update(table).where(table.c.status == "pending").values(due_at=sa.func.now()))
        with delivering(self.database, self.directory):
            until(lambda: all(row.status == "delivered" for row in list_deliveries(self.database)))

    def request(self, question: str) -> bool:
        return bool(self.database.execute(sa.text(question)))

    @contextmanager
    def table_lock(self, name: str) -> Iterator[str]:
        """Lock a table, and return the SQL that lists who waits for it."""
        with self.database.transaction() as connection:
            connection.execute(sa.text(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"))
            yield f"FROM pg_locks WHERE relation = '{name}'::regclass AND NOT granted"


def kill_after_claim(place: Place) -> None:
    """It has taken the delivery and reads the job, which it must before it sends."""
    with place.table_lock("images") as waiters, place.start() as sender:
        place.cause()
        until(lambda: place.request(f"SELECT 1 {waiters}"))
        assert [row.lease is None for row in list_deliveries(place.database) if row.status == "pending"] == [False]
        sender.kill()


def kill_after_sending(place: Place) -> None:
    place.receiver.behave = hang
    with place.start() as sender:
        place.cause()
        place.receiver.until(len(place.receiver.requests) + 1)
        sender.kill()


def kill_after_answer(place: Place) -> None:
    """It waits to write down the answer; its connection dies with it, before the write."""
    with place.table_lock("webhook_attempts") as waiters, place.start() as sender:
        place.cause()
        until(lambda: place.request(f"SELECT 1 {waiters}"))
        sender.kill()
        assert place.request(f"SELECT pg_terminate_backend(pid) {waiters}")


def kill_after_record(place: Place) -> None:
    with place.start() as sender:
        place.cause()
        until(lambda: all(row.status == "delivered" for row in list_deliveries(place.database)))
        sender.kill()


def kill_at_random(place: Place) -> None:
    """At a random moment within a tenth of a second after several events."""
    with place.start() as sender:
        sender.until_says("delivering")
        for _ in range(5):
            place.cause()
        threading.Event().wait(CHANCE.uniform(0, 0.1))
        sender.kill()


POINTS: dict[Callable[[Place], None], set[int]] = {
    kill_after_claim: {1},
    kill_after_sending: {2},
    kill_after_answer: {2},
    kill_after_record: {1},
    kill_at_random: {1, 2},
}
"""How often an event may arrive when a deliverer was killed at that point."""


def test_a_deliverer_that_is_killed_anywhere_loses_nothing(database: Database, tmp_path: Path) -> None:
    environment = {
        "SAFELIGHT_DATABASE_URL": str(settings_for(database, tmp_path).database_url),
        "SAFELIGHT_DATA_DIR": str(tmp_path),
        "SAFELIGHT_EGRESS_ALLOW": "127.0.0.1",
        "SAFELIGHT_WEBHOOK_POLL": "0.05",
    }
    arrivals_by_point: dict[str, Counter[int]] = {point.__name__: Counter() for point in POINTS}
    with Receiver() as receiver:
        place = Place(
            database,
            tmp_path,
            receiver,
            lambda: Process("deliver", python("-m", "worker.webhooks.deliver"), environment),
        )
        endpoint = webhooks.create(DEFAULT_PROJECT, "x", receiver.url(), ["job.cancelled"], signing.new_secret())
        secret = database.execute(endpoint)[0].secret
        for number in range(ROUNDS):
            point, arrival_counts = list(POINTS.items())[number % len(POINTS)]
            receiver.behave = answering(200)
            receiver.requests.clear()
            before = len(list_deliveries(database))
            point(place)
            receiver.behave = answering(200)
            place.deliver_what_waits()

            events = [row.event_id for row in list_deliveries(database)[before:]]
            arrived = Counter(request.headers["webhook-id"] for request in receiver.requests)
            assert set(arrived) == set(events)
            assert set(arrived.values()) <= arrival_counts, point.__name__
            for request in receiver.requests:
                Webhook(secret).verify(request.body, dict(request.headers))
                assert json.loads(request.body)["id"] == request.headers["webhook-id"]
            arrivals_by_point[point.__name__].update(arrived.values())
    caused = database.execute(sa.select(job_events.c.id).where(job_events.c.type == "job.cancelled"))
    assert sorted(row.event_id for row in list_deliveries(database)) == sorted(event.id for event in caused)
    assert all(database.execute(attempts.list_attempts(row.id)) for row in list_deliveries(database))
    for name, times in arrivals_by_point.items():
        print(f"{name}: events by arrivals {dict(sorted(times.items()))}")
    print(f"{ROUNDS} kills, {len(caused)} events, all of them arrived")
