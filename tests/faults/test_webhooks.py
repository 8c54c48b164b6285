"""Webhook receivers that hang, lie, move and die: every event arrives, and no other receiver waits for them.

Each test prints its figures (`pytest -s`). Addresses that are refused are tested in `tests/core/test_egress.py`, a
deliverer that is killed in `test_webhooks_killed.py`.
"""

import json
import resource
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import sqlalchemy as sa

from cli.local.embedded import EmbeddedValkey
from core.db import Database
from core.egress import DestinationRefused, Egress, EgressRules
from core.outbox import attempts, redelivery, signing
from core.redis.progress import Progress
from core.tables import DEFAULT_PROJECT
from core.webhooks import endpoints as webhooks
from tests.deliveries import TIMEOUT, an_endpoint, delivering, list_deliveries, settings_for
from tests.factories import a_completed_job
from tests.receiver import Behaviour, Received, Receiver, answering, hang
from tests.waiting import FACTOR, PATIENCE, until


def reset(handler: BaseHTTPRequestHandler, _request: Received) -> None:
    handler.connection.close()


def pour(handler: BaseHTTPRequestHandler, _request: Received) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\ncontent-encoding: gzip\r\n\r\n")
    for _ in range(15_000):
        handler.wfile.write(b"\x1f\x8b" * 32_768)


def trickle(handler: BaseHTTPRequestHandler, _request: Received) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nx: " + b"a" * 1000:
        handler.wfile.write(bytes([byte]))
        handler.connection.settimeout(0.05)
        try:
            if not handler.connection.recv(1):
                return
        except TimeoutError:
            continue


FIRST_DELAY = 60 * FACTOR
"""Seconds until the second attempt: longer than the first attempt at the slowest receiver."""

MATRIX: dict[str, tuple[Behaviour, str, int | None, str | None]] = {
    "hangs": (hang, "pending", None, "timeout"),
    "trickles": (trickle, "pending", None, "timeout"),
    "resets": (reset, "pending", None, "no_answer"),
    "500": (answering(500), "pending", 500, "http_error"),
    "301 inside": (answering(301, {"location": "http://169.254.169.254/"}), "pending", 301, "http_error"),
    "302 to itself": (answering(302, {"location": "/hook"}), "pending", 302, "http_error"),
    "410": (answering(410), "failed", 410, "http_error"),
    "429": (answering(429, {"retry-after": f"{2 * FIRST_DELAY:.0f}"}), "pending", 429, "http_error"),
    "1 GB": (pour, "delivered", 200, None),
}


def test_each_kind_of_receiver_gets_one_attempt_and_its_own_outcome(database: Database, tmp_path: Path) -> None:
    receivers = {name: Receiver(behave) for name, (behave, *_) in MATRIX.items()}
    names = {an_endpoint(database, receiver.url()).id: name for name, receiver in receivers.items()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    a_completed_job(database)

    with delivering(database, tmp_path, SAFELIGHT_WEBHOOK_SCHEDULE=str(FIRST_DELAY)):
        until(lambda: all(row.attempts == 1 for row in list_deliveries(database)))

    for row in list_deliveries(database):
        name = names[str(row.endpoint_id)]
        _, status, status_code, error_code = MATRIX[name]
        assert (name, row.status, row.status_code, row.error_code) == (name, status, status_code, error_code)
        (attempt,) = database.execute(attempts.list_attempts(row.id))
        print(f"{name}: {row.status}, {attempt.status_code or attempt.error_code}, {attempt.seconds:.2f} s")
        if row.status == "pending":
            delay = (
                2 * FIRST_DELAY if name == "429" else FIRST_DELAY
            )  # as the receiver says, or the first delay of the schedule
            assert row.due_at - attempt.started_at >= timedelta(seconds=0.9 * delay)
            assert row.due_at - datetime.now(UTC) <= timedelta(seconds=1.2 * delay)
        assert len(receivers[name].requests) == 1, "a redirect is not followed"
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"memory grew by {growth:.1f} MB while 1 GB was offered")
    assert growth < 20
    for receiver in receivers.values():
        receiver.close()


def test_more_receivers_that_hang_than_there_are_slots_do_not_delay_one_that_answers(
    database: Database, tmp_path: Path
) -> None:
    latencies = {}
    timeout = 5 * FACTOR
    for crowd in (0, 6):
        settings = {"SAFELIGHT_WEBHOOK_CONCURRENCY": "4", "SAFELIGHT_WEBHOOK_TIMEOUT": str(timeout)}
        with Receiver() as well, delivering(database, tmp_path, **settings):
            endpoint = an_endpoint(database, well.url())
            a_completed_job(database)
            until_sent(database, endpoint.id)
            hanging = [Receiver(hang) for _ in range(crowd)]
            for receiver in hanging:
                an_endpoint(database, receiver.url())
            for count in range(2, 16):
                a_completed_job(database)
                well.until(count)
            until_sent(database, endpoint.id)
            deliveries_sent = list_deliveries(database, endpoint.id)
        latencies[crowd] = [(row.finished_at - row.event_at).total_seconds() for row in deliveries_sent]
        for receiver in hanging:
            receiver.close()
        database.execute(sa.text("TRUNCATE webhook_endpoints, webhook_deliveries, webhook_attempts"))
    for crowd, seconds in latencies.items():
        print(f"{crowd} receivers hang: median {statistics.median(seconds):.3f} s, worst {max(seconds):.3f} s")
    assert statistics.median(latencies[6]) < timeout, "events wait for a receiver that hangs"


def test_an_event_is_sent_on_its_notification_and_not_at_the_next_poll(
    database: Database, tmp_path: Path, valkey: EmbeddedValkey
) -> None:
    times = {"SAFELIGHT_WEBHOOK_POLL": str(10 * PATIENCE), "SAFELIGHT_WEBHOOK_TIMEOUT": str(TIMEOUT)}
    settings = settings_for(database, tmp_path, SAFELIGHT_REDIS_URL=valkey.url, **times)
    progress = Progress(settings)
    with Receiver(keep_alive=True) as receiver:
        an_endpoint(database, receiver.url())
        a_completed_job(database)  # nothing notifies of it, so it comes before the deliverer
        with delivering(database, tmp_path, SAFELIGHT_REDIS_URL=valkey.url, **times):
            receiver.until(1)
            for count in (2, 3):
                until(lambda: all(row.finished_at for row in list_deliveries(database)))
                job_id = a_completed_job(database)
                progress.publish_changes([job_id])
                receiver.until(count)
            until(lambda: all(row.finished_at for row in list_deliveries(database)))
        assert receiver.connections < 3, "a connection is used again, unless this machine is too slow"
        with delivering(database, tmp_path, **times):  # without Redis it polls more often than the setting says
            a_completed_job(database)
            receiver.until(4)


def test_a_new_receiver_waits_for_no_backlog_of_those_that_hang(database: Database, tmp_path: Path) -> None:
    with Receiver(hang) as hanging, Receiver() as new_receiver:
        for _ in range(3):
            an_endpoint(database, hanging.url())
        for _ in range(20):
            a_completed_job(database)
        with delivering(
            database, tmp_path, SAFELIGHT_WEBHOOK_CONCURRENCY="2", SAFELIGHT_WEBHOOK_TIMEOUT=str(1 * FACTOR)
        ):
            hanging.until(3)
            endpoint = an_endpoint(database, new_receiver.url())
            a_completed_job(database)
            before = len(hanging.requests)
            new_receiver.until(1)
            attempts = len(hanging.requests) - before
            until_sent(database, endpoint.id)
            (delivery,) = list_deliveries(database, endpoint.id)
            print(f"new among 3 that hang: {(delivery.finished_at - delivery.event_at).total_seconds():.1f} s")
    assert attempts < 20, "the new receiver waited for a third of the backlog"


def until_sent(database: Database, endpoint_id: str) -> None:
    until(lambda: all(row.finished_at for row in list_deliveries(database, endpoint_id)))


def test_a_name_that_resolves_to_another_address_each_time_is_refused() -> None:
    rounds = 300
    with Receiver() as outside, Receiver(host="127.0.0.2", port=outside.port) as canary:
        answers: list[Sequence[str]] = [
            ["127.0.0.1"],
            ["127.0.0.2"],
            ["127.0.0.1", "127.0.0.2"],
            ["127.0.0.2", "127.0.0.1"],
        ]
        lookups = 0

        def resolve(_host: str, _port: int) -> Sequence[str]:
            nonlocal lookups
            lookups += 1
            return answers[(lookups - 1) % len(answers)]

        egress = Egress(EgressRules.parse("127.0.0.1"), resolve=resolve)
        for number in range(rounds):
            if number % len(answers) == 0:
                assert egress.post(outside.url(host="rebound.test"), b"{}", {}, PATIENCE).status == 200
                continue
            with pytest.raises(DestinationRefused):
                egress.post(outside.url(host="rebound.test"), b"{}", {}, PATIENCE)
        print(f"{rounds} sendings, {lookups} look-ups, {canary.connections} connections to the canary")
        assert (lookups, canary.connections, outside.connections) == (rounds, 0, rounds // len(answers))
        assert {request.headers["host"] for request in outside.requests} == {f"rebound.test:{outside.port}"}


def test_a_secret_is_replaced_under_load(database: Database, tmp_path: Path) -> None:
    with Receiver() as receiver, delivering(database, tmp_path):
        endpoint = an_endpoint(database, receiver.url())
        new_secret = signing.new_secret()
        for number in range(20):
            if number == 10:
                receiver.until(10)
                database.execute(webhooks.rotate(DEFAULT_PROJECT, endpoint.id, new_secret, keep_previous=True))
            a_completed_job(database)
        requests = receiver.until(20)
    by_old, by_new = (
        sum(signing.verifies(secret, request.headers, request.body) for request in requests)
        for secret in (endpoint.secret, new_secret)
    )
    print(f"of 20 events, 10 after the rotation: the old secret verifies {by_old}, the new one {by_new}")
    assert (by_old, by_new) == (20, 10)


def test_an_endpoint_that_always_fails_is_disabled_and_an_event_is_redelivered_by_hand(
    database: Database, tmp_path: Path
) -> None:
    schedule = ", ".join(
        f"{seconds / 36_000:.5f}" for seconds in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
    )
    with Receiver(answering(500)) as receiver, delivering(database, tmp_path, SAFELIGHT_WEBHOOK_SCHEDULE=schedule):
        endpoint = an_endpoint(database, receiver.url())
        a_completed_job(database)
        until(lambda: list_deliveries(database)[0].status == "failed")
        (row,) = list_deliveries(database)
        (endpoint,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint.id))
        print(f"{row.attempts} attempts, then: {endpoint.disabled_reason}")
        assert row.attempts == len(receiver.requests) == 10
        assert str(endpoint.disabled_reason).startswith("Every delivery has failed since ")

        receiver.behave = answering(200)
        database.execute(webhooks.update(DEFAULT_PROJECT, endpoint.id, {}, enable=True))
        database.execute(redelivery.redeliver(DEFAULT_PROJECT, row.id))
        requests = receiver.until(11)
        until(lambda: list_deliveries(database)[1].status == "delivered")
    assert {request.headers["webhook-id"] for request in requests} == {row.event_id}
    assert len({json.loads(request.body)["id"] for request in requests}) == 1
