"""Receivers that hang, lie, move and die: every event arrives, and nobody else waits.

Numbers are the fault catalogue's; the tables of 35 and 37 are in `tests/core/test_egress.py`, 38 in
`test_webhooks_killed.py`. What each found is printed (`pytest -s`).
"""

import json
import resource
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from core.db import Database
from core.egress import Allowed, Egress, Refused
from core.outbox import deliveries, signing
from core.tables import DEFAULT_PROJECT
from core.webhooks import endpoints as webhooks
from tests.core.test_deliveries import completed, rows
from tests.core.test_webhooks import an_endpoint, settings_for
from tests.processes import PATIENCE
from tests.receiver import Behaviour, Received, Receiver, answering
from worker.webhooks.deliver import Deliverer


@contextmanager
def delivering(database: Database, directory: Path, **settings: str) -> Iterator[Deliverer]:
    """A deliverer at work in this process."""
    fast = {"SAFELIGHT_WEBHOOK_POLL": "0.05", "SAFELIGHT_WEBHOOK_TIMEOUT": "2"}
    deliverer = Deliverer(settings_for(database, directory, **fast | settings))
    thread = threading.Thread(target=deliverer.run, daemon=True)
    thread.start()
    yield deliverer
    deliverer.stop()
    thread.join(PATIENCE)
    deliverer.close()


def until(look: Callable[[], bool]) -> None:
    """Look at the database until something is so; it has no bell for deliveries."""
    deadline = time.monotonic() + PATIENCE
    while not look():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def hang(handler: BaseHTTPRequestHandler, _received: Received) -> None:
    handler.connection.settimeout(30)
    handler.connection.recv(1)


def reset(handler: BaseHTTPRequestHandler, _received: Received) -> None:
    handler.connection.close()


def pour(handler: BaseHTTPRequestHandler, _received: Received) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\ncontent-encoding: gzip\r\n\r\n")
    for _ in range(15_000):
        handler.wfile.write(b"\x1f\x8b" * 32_768)


def trickle(handler: BaseHTTPRequestHandler, _received: Received) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nx: " + b"a" * 1000:
        handler.wfile.write(bytes([byte]))
        handler.connection.settimeout(0.05)
        try:
            if not handler.connection.recv(1):
                return
        except TimeoutError:
            continue


MATRIX: dict[str, tuple[Behaviour, str, int | None, str | None]] = {
    "hangs": (hang, "pending", None, "timeout"),
    "trickles": (trickle, "pending", None, "timeout"),
    "resets": (reset, "pending", None, "no_answer"),
    "500": (answering(500), "pending", 500, "http_error"),
    "301 inside": (answering(301, {"location": "http://169.254.169.254/"}), "pending", 301, "http_error"),
    "302 to itself": (answering(302, {"location": "/hook"}), "pending", 302, "http_error"),
    "410": (answering(410), "failed", 410, "http_error"),
    "429": (answering(429, {"retry-after": "120"}), "pending", 429, "http_error"),
    "1 GB": (pour, "delivered", 200, None),
}


def test_34_every_receiver_gets_what_it_deserves_and_no_more(database: Database, tmp_path: Path) -> None:
    receivers = {name: Receiver(behave) for name, (behave, *_) in MATRIX.items()}
    names = {an_endpoint(database, receiver.url()).id: name for name, receiver in receivers.items()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    completed(database)

    with delivering(database, tmp_path):
        until(lambda: all(row.attempts == 1 for row in rows(database)))

    for row in rows(database):
        name = names[str(row.endpoint_id)]
        _, status, status_code, error_code = MATRIX[name]
        assert (name, row.status, row.status_code, row.error_code) == (name, status, status_code, error_code)
        (attempt,) = database.execute(deliveries.attempts_of(row.id))
        print(f"{name}: {row.status}, {attempt.status_code or attempt.error_code}, {attempt.seconds:.2f} s")
        assert attempt.seconds < 2 + 2
        wait = (row.due_at - datetime.now(UTC)).total_seconds()
        assert row.status != "pending" or (100 < wait <= 121 if name == "429" else wait <= 6)
        assert len(receivers[name].received) == 1, "a redirect is not followed"
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"memory grew by {grown:.1f} MB while 1 GB was offered")
    assert grown < 20
    for receiver in receivers.values():
        receiver.close()


def test_34_more_receivers_that_hang_than_there_are_slots_do_not_delay_one_that_answers(
    database: Database, tmp_path: Path
) -> None:
    latencies = {}
    for crowd in (0, 6):
        settings = {"SAFELIGHT_WEBHOOK_CONCURRENCY": "4", "SAFELIGHT_WEBHOOK_TIMEOUT": "5"}
        with Receiver() as well, delivering(database, tmp_path, **settings):
            endpoint = an_endpoint(database, well.url())
            completed(database)
            until_sent(database, endpoint.id)
            hanging = [Receiver(hang) for _ in range(crowd)]
            for receiver in hanging:
                an_endpoint(database, receiver.url())
            for count in range(2, 16):
                completed(database)
                well.until(count)
            until_sent(database, endpoint.id)
            took = [(row.finished_at - row.event_at).total_seconds() for row in of(database, endpoint.id)]
        latencies[crowd] = took
        for receiver in hanging:
            receiver.close()
        database.execute(sa.text("TRUNCATE webhook_endpoints, webhook_deliveries, webhook_attempts"))
    for crowd, took in latencies.items():
        print(f"{crowd} receivers hang: median {statistics.median(took):.3f} s, worst {max(took):.3f} s")
    assert max(latencies[6]) < 5, "nothing waited for a time-out"


def test_34_a_receiver_that_is_new_waits_for_no_backlog_of_those_that_hang(database: Database, tmp_path: Path) -> None:
    with Receiver(hang) as hanging, Receiver() as new:
        for _ in range(3):
            an_endpoint(database, hanging.url())
        for _ in range(20):
            completed(database)
        with delivering(database, tmp_path, SAFELIGHT_WEBHOOK_CONCURRENCY="2", SAFELIGHT_WEBHOOK_TIMEOUT="1"):
            hanging.until(3)
            endpoint = an_endpoint(database, new.url())
            completed(database)
            new.until(1, seconds=10)
            until_sent(database, endpoint.id)
            (sent,) = of(database, endpoint.id)
            print(f"new among 3 that hang: {(sent.finished_at - sent.event_at).total_seconds():.1f} s")


def until_sent(database: Database, endpoint_id: str) -> None:
    until(lambda: all(row.finished_at for row in of(database, endpoint_id)))


def of(database: Database, endpoint_id: str) -> list[sa.Row[Any]]:
    return [row for row in rows(database) if row.endpoint_id == endpoint_id]


def test_36_a_name_that_changes_its_mind_leads_nowhere() -> None:
    rounds = 300
    with Receiver() as outside, Receiver(host="127.0.0.2", port=outside.port) as canary:
        answers: list[Sequence[str]] = [
            ["127.0.0.1"],
            ["127.0.0.2"],
            ["127.0.0.1", "127.0.0.2"],
            ["127.0.0.2", "127.0.0.1"],
        ]
        asked = 0

        def resolve(_host: str, _port: int) -> Sequence[str]:
            nonlocal asked
            asked += 1
            return answers[(asked - 1) % len(answers)]

        egress = Egress(Allowed.of("127.0.0.1"), resolve=resolve)
        for number in range(rounds):
            if number % len(answers) == 0:
                assert egress.post(outside.url(host="rebound.test"), b"{}", {}, 5).status == 200
                continue
            with pytest.raises(Refused):
                egress.post(outside.url(host="rebound.test"), b"{}", {}, 5)
        print(f"{rounds} sendings, {asked} look-ups, {canary.connections} connections to the canary")
        assert (asked, canary.connections, outside.connections) == (rounds, 0, rounds // len(answers))
        assert {one.headers["host"] for one in outside.received} == {f"rebound.test:{outside.port}"}


def test_39_a_secret_is_replaced_under_load(database: Database, tmp_path: Path) -> None:
    with Receiver() as receiver, delivering(database, tmp_path):
        endpoint = an_endpoint(database, receiver.url())
        new = signing.new_secret()
        for number in range(20):
            if number == 10:
                receiver.until(10)
                database.execute(webhooks.rotate(DEFAULT_PROJECT, endpoint.id, new, keep_previous=True))
            completed(database)
        received = receiver.until(20)
    by_old, by_new = (
        sum(signing.verifies(secret, one.headers, one.body) for one in received) for secret in (endpoint.secret, new)
    )
    print(f"of 20 events, 10 after the rotation: the old secret verifies {by_old}, the new one {by_new}")
    assert (by_old, by_new) == (20, 10)


def test_40_an_endpoint_that_fails_throughout_is_disabled_and_told_again_by_hand(
    database: Database, tmp_path: Path
) -> None:
    scaled = ", ".join(f"{seconds / 36_000:.5f}" for seconds in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400))
    with Receiver(answering(500)) as receiver, delivering(database, tmp_path, SAFELIGHT_WEBHOOK_SCHEDULE=scaled):
        endpoint = an_endpoint(database, receiver.url())
        completed(database)
        until(lambda: rows(database)[0].status == "failed")
        (row,) = rows(database)
        (found,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint.id))
        print(f"{row.attempts} attempts, then: {found.disabled_reason}")
        assert row.attempts == len(receiver.received) == 10
        assert str(found.disabled_reason).startswith("Every delivery has failed since ")

        receiver.behave = answering(200)
        database.execute(webhooks.update(DEFAULT_PROJECT, endpoint.id, {}, enable=True))
        database.execute(deliveries.redeliver(DEFAULT_PROJECT, row.id))
        received = receiver.until(11)
        until(lambda: rows(database)[1].status == "delivered")
    assert {one.headers["webhook-id"] for one in received} == {row.event_id}
    assert len({json.loads(one.body)["id"] for one in received}) == 1
