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

from core import jobs
from core.db import Database
from core.outbox import deliveries, signing
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
        self.database.execute(jobs.submit(job))
        self.database.execute(jobs.cancel(DEFAULT_PROJECT, job.id))

    def deliver_what_waits(self) -> None:
        """Let what the dead had taken be due, and wait until nothing is left; their connections end first."""
        until(lambda: not self.request(CONNECTED))
        self.database.execute(sa.update(table).where(table.c.status == "pending").values(due_at=sa.func.now()))
        with delivering(self.database, self.directory):
            until(lambda: all(row.status == "delivered" for row in list_deliveries(self.database)))

    def request(self, question: str) -> bool:
        return bool(self.database.execute(sa.text(question)))

    @contextmanager
    def locked(self, name: str) -> Iterator[str]:
        """Keep a table from everybody, and tell how to see who waits for it."""
        with self.database.transaction() as connection:
            connection.execute(sa.text(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE"))
            yield f"FROM pg_locks WHERE relation = '{name}'::regclass AND NOT granted"


def claimed_not_sent(place: Place) -> None:
    """It has taken the delivery and reads the job, which it must before it sends."""
    with place.locked("images") as waiting, place.start() as sender:
        place.cause()
        until(lambda: place.request(f"SELECT 1 {waiting}"))
        assert [row.lease is None for row in list_deliveries(place.database) if row.status == "pending"] == [False]
        sender.kill()


def sent_not_answered(place: Place) -> None:
    place.receiver.behave = hang
    with place.start() as sender:
        place.cause()
        place.receiver.until(len(place.receiver.received) + 1)
        sender.kill()


def answered_not_recorded(place: Place) -> None:
    """It waits to write down the answer; its connection dies with it, before the write."""
    with place.locked("webhook_attempts") as waiting, place.start() as sender:
        place.cause()
        until(lambda: place.request(f"SELECT 1 {waiting}"))
        sender.kill()
        assert place.request(f"SELECT pg_terminate_backend(pid) {waiting}")


def recorded(place: Place) -> None:
    with place.start() as sender:
        place.cause()
        until(lambda: all(row.status == "delivered" for row in list_deliveries(place.database)))
        sender.kill()


def at_random(place: Place) -> None:
    """Whenever: in the tenth of a second after several events."""
    with place.start() as sender:
        sender.until_says("delivering")
        for _ in range(5):
            place.cause()
        threading.Event().wait(CHANCE.uniform(0, 0.1))
        sender.kill()


POINTS: dict[Callable[[Place], None], set[int]] = {
    claimed_not_sent: {1},
    sent_not_answered: {2},
    answered_not_recorded: {2},
    recorded: {1},
    at_random: {1, 2},
}
"""How often an event arrives that a deliverer died over there."""


def test_a_deliverer_that_is_killed_anywhere_loses_nothing(database: Database, tmp_path: Path) -> None:
    environment = {
        "SAFELIGHT_DATABASE_URL": str(settings_for(database, tmp_path).database_url),
        "SAFELIGHT_DATA_DIR": str(tmp_path),
        "SAFELIGHT_EGRESS_ALLOW": "127.0.0.1",
        "SAFELIGHT_WEBHOOK_POLL": "0.05",
    }
    found: dict[str, Counter[int]] = {point.__name__: Counter() for point in POINTS}
    with Receiver() as receiver:
        place = Place(
            database,
            tmp_path,
            receiver,
            lambda: Process("deliver", python("-m", "worker.webhooks.deliver"), environment),
        )
        made = webhooks.create(DEFAULT_PROJECT, "x", receiver.url(), ["job.cancelled"], signing.new_secret())
        secret = database.execute(made)[0].secret
        for number in range(ROUNDS):
            point, expected = list(POINTS.items())[number % len(POINTS)]
            receiver.behave = answering(200)
            receiver.received.clear()
            before = len(list_deliveries(database))
            point(place)
            receiver.behave = answering(200)
            place.deliver_what_waits()

            events = [row.event_id for row in list_deliveries(database)[before:]]
            arrived = Counter(one.headers["webhook-id"] for one in receiver.received)
            assert set(arrived) == set(events)
            assert set(arrived.values()) <= expected, point.__name__
            for one in receiver.received:
                Webhook(secret).verify(one.body, dict(one.headers))
                assert json.loads(one.body)["id"] == one.headers["webhook-id"]
            found[point.__name__].update(arrived.values())
    caused = database.execute(sa.select(job_events.c.id).where(job_events.c.type == "job.cancelled"))
    assert sorted(row.event_id for row in list_deliveries(database)) == sorted(event.id for event in caused)
    assert all(database.execute(deliveries.attempts_of(row.id)) for row in list_deliveries(database))
    for name, times in found.items():
        print(f"{name}: events by arrivals {dict(sorted(times.items()))}")
    print(f"{ROUNDS} kills, {len(caused)} events, all of them arrived")
