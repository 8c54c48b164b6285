"""What a receiver gets, signed as the official libraries verify it, and what follows from its answer."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import openai
import pytest
import sqlalchemy as sa
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from core.db import Database
from core.outbox import attempts, signing
from core.tables import DEFAULT_PROJECT
from core.tables import webhook_deliveries as table
from core.tables import webhook_endpoints as endpoints_table
from core.webhooks import endpoints as webhooks
from tests.deliveries import EVENTS, an_endpoint, list_deliveries, settings_for
from tests.factories import a_completed_job
from tests.receiver import Received, Receiver, answering
from tests.waiting import until
from worker.webhooks.deliver import Deliverer
from worker.webhooks.endpoint_health import MAX_DESTINATIONS, EndpointHealth


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def deliverer(database: Database, tmp_path: Path) -> Iterator[Deliverer]:
    worker = Deliverer(settings_for(database, tmp_path))
    yield worker
    worker.close()


def deliver(database: Database, deliverer: Deliverer) -> None:
    """Send the delivery that is due, and wait until its outcome is recorded."""
    assert deliverer.take() == 1
    until(lambda: all(row.lease is None for row in list_deliveries(database)))


def verify(request: Received, secret: str) -> None:
    """Both official libraries take it, and see the same."""
    headers = dict(request.headers)
    assert Webhook(secret).verify(request.body, headers)["id"] == headers["webhook-id"]
    with openai.OpenAI(api_key="x", webhook_secret=secret) as client:
        event = client.webhooks.unwrap(request.body.decode(), headers)
    assert event.type == json.loads(request.body)["type"]


def test_the_official_libraries_verify_a_delivery(database: Database, deliverer: Deliverer, receiver: Receiver) -> None:
    endpoint = an_endpoint(database, receiver.url())
    job_id = a_completed_job(database)

    deliver(database, deliverer)

    (request,) = receiver.requests
    verify(request, endpoint.secret)
    event = json.loads(request.body)
    assert (event["object"], event["type"]) == ("event", "job.completed")
    assert (event["data"]["id"], event["data"]["status"]) == (job_id, "completed")
    assert "signature=" in event["data"]["images"][0]["url"]
    assert request.headers["content-type"] == "application/json"
    assert [(row.status, row.status_code) for row in list_deliveries(database)] == [("delivered", 200)]
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(request.body, dict(request.headers))


def test_both_secrets_verify_while_one_is_replaced(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    endpoint = an_endpoint(database, receiver.url())
    new_secret = signing.new_secret()
    database.execute(webhooks.rotate(DEFAULT_PROJECT, endpoint.id, new_secret, keep_previous=True))
    a_completed_job(database)
    deliver(database, deliverer)
    for secret in (endpoint.secret, new_secret):
        verify(receiver.requests[0], secret)

    database.execute(sa.update(endpoints_table).values(previous_secret_until=sa.func.now()))
    a_completed_job(database)
    deliver(database, deliverer)
    verify(receiver.requests[1], new_secret)
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoint.secret).verify(receiver.requests[1].body, dict(receiver.requests[1].headers))


def test_a_jobs_own_receiver_gets_a_signature_if_it_gave_a_secret(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    secret = signing.new_secret()
    for own_secret in (secret, None):
        a_completed_job(database, webhook={"url": receiver.url(), "events": ["job.completed"], "secret": own_secret})
        deliver(database, deliverer)

    verify(receiver.requests[0], secret)
    assert "webhook-signature" not in receiver.requests[1].headers
    assert receiver.requests[1].headers["webhook-id"].startswith("evt_")


def test_a_retry_has_the_same_id_and_a_new_signature(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    endpoint = an_endpoint(database, receiver.url())
    a_completed_job(database)
    receiver.behave = answering(500, body=b"not \x00 today")
    deliver(database, deliverer)
    (row,) = list_deliveries(database)
    assert (row.status, row.error_code, row.status_code) == ("pending", "http_error", 500)
    (attempt,) = database.execute(attempts.list_attempts(row.id))
    assert row.due_at - attempt.started_at >= timedelta(seconds=0.9 * 5)
    assert attempt.answer == "not \ufffd today"

    database.execute(sa.update(table).values(due_at=sa.func.now()))
    receiver.behave = answering(200)
    deliver(database, deliverer)

    first, second = receiver.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == row.event_id
    for request in (first, second):
        verify(request, endpoint.secret)


@pytest.mark.parametrize(
    ("status", "headers", "delay"),
    [
        (429, {"retry-after": "120"}, 120),
        (503, {"retry-after": "999999999999999"}, 86_400),
        (503, {"retry-after": "1"}, 5),
        (301, {"location": "http://127.0.0.1:1/"}, 5),
        (429, {"retry-after": "soon"}, 5),
    ],
)
def test_a_retry_waits_for_as_long_as_the_receiver_says(
    database: Database,
    deliverer: Deliverer,
    receiver: Receiver,
    status: int,
    headers: dict[str, str],
    delay: float,
) -> None:
    an_endpoint(database, receiver.url())
    a_completed_job(database)
    receiver.behave = answering(status, headers)

    deliver(database, deliverer)

    (row,) = list_deliveries(database)
    (attempt,) = database.execute(attempts.list_attempts(row.id))
    assert row.due_at - attempt.started_at >= timedelta(seconds=0.9 * delay)
    assert row.due_at - datetime.now(UTC) <= timedelta(seconds=1.2 * delay)


def test_an_address_inside_is_a_failure_that_its_owner_can_read(database: Database, deliverer: Deliverer) -> None:
    an_endpoint(database, "http://10.0.0.1/")
    a_completed_job(database)

    deliver(database, deliverer)

    assert [(row.status, row.error_code) for row in list_deliveries(database)] == [("pending", "destination_refused")]


def test_a_receiver_that_is_gone_is_disabled(database: Database, deliverer: Deliverer, receiver: Receiver) -> None:
    endpoint = an_endpoint(database, receiver.url())
    a_completed_job(database)
    receiver.behave = answering(410)

    deliver(database, deliverer)

    (row,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint.id))
    assert row.disabled_reason == "The receiver answered 410 Gone."


@pytest.mark.parametrize(
    "text", ["whsec_", "whsec_c2hvcnQ=", "secret", "whsec_" + "a" * 200, "whsec_ünïcode" + "a" * 30]
)
def test_a_text_that_is_no_secret_is_recognised(text: str) -> None:
    assert not signing.is_secret(text)
    assert signing.is_secret(signing.new_secret())


def test_a_project_has_no_more_endpoints_than_it_may(database: Database) -> None:
    def create() -> bool:
        outcomes = webhooks.create(
            DEFAULT_PROJECT, "x", "https://a.test", EVENTS, signing.new_secret(), max_endpoints=3
        )
        with database.transaction() as connection:
            connection.execute(webhooks.lock_project(DEFAULT_PROJECT))
            return bool(connection.execute(outcomes))

    with ThreadPoolExecutor(8) as threads:
        outcomes = [future.result() for future in [threads.submit(create) for _ in range(16)]]

    assert outcomes.count(True) == len(database.execute(webhooks.list_endpoints(DEFAULT_PROJECT, limit=9))) == 3


def test_endpoint_health_is_the_last_delivery_of_each_destination_and_bounded() -> None:
    health = EndpointHealth(8)
    for destination, seconds in (("a", 0.1), ("b", 15), ("c", 15), ("a", 15), ("b", 15), ("c", 0.9)):
        health.record(destination, seconds)
    assert (health.list_fast(), health.list_slow(), health.shared_slots) == (["c"], ["a", "b"], 4)
    assert (health.list_quick(), health.additional_slots) == ([], 2)
    health.record("d", 0.1)
    assert (health.list_fast(), health.list_quick()) == (["c", "d"], ["d"])
    health.record("d", 15)
    assert health.list_quick() == []

    for number in range(2 * MAX_DESTINATIONS):
        health.record(f"{number}", 15)
    assert (len(health.list_slow()), health.list_slow()[-1]) == (MAX_DESTINATIONS, f"{2 * MAX_DESTINATIONS - 1}")
    assert health.list_fast() == ["c"]
