"""What a receiver gets: signed as the official libraries verify it, and what is made of its answer."""

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
from core.outbox import deliveries, signing
from core.rows import EndpointRow
from core.settings import Settings
from core.tables import DEFAULT_PROJECT
from core.tables import webhook_deliveries as table
from core.tables import webhook_endpoints as endpoints_table
from core.webhooks import endpoints as webhooks
from tests.core.test_deliveries import completed, rows, take
from tests.receiver import Received, Receiver, answering
from tests.stack import settings_of
from worker.webhooks.deliver import Deliverer, retry_after
from worker.webhooks.endpoint_health import MAX_DESTINATIONS, EndpointHealth

FINALS = ["job.completed", "job.failed"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


def settings_for(database: Database, directory: Path, **settings: str) -> Settings:
    url = database.engine.url.set(drivername="postgresql").render_as_string(False)
    return settings_of(
        {
            "SAFELIGHT_DATABASE_URL": url,
            "SAFELIGHT_DATA_DIR": str(directory),
            "SAFELIGHT_EGRESS_ALLOW": "127.0.0.1",
            "SAFELIGHT_WEBHOOK_TIMEOUT": "5",
            **settings,
        }
    )


@pytest.fixture
def deliverer(database: Database, tmp_path: Path) -> Iterator[Deliverer]:
    one = Deliverer(settings_for(database, tmp_path))
    yield one
    one.close()


def an_endpoint(database: Database, url: str, secret: str | None = None) -> EndpointRow:
    made = webhooks.create(DEFAULT_PROJECT, "x", url, FINALS, secret or signing.new_secret())
    return database.execute(made)[0]


def deliver(database: Database, deliverer: Deliverer) -> None:
    """Send one delivery that is due, here and now."""
    (row,) = take(database, limit=1)
    deliverer.send(row)


def verify(received: Received, secret: str) -> None:
    """Both official libraries take it, and see the same."""
    headers = dict(received.headers)
    assert Webhook(secret).verify(received.body, headers)["id"] == headers["webhook-id"]
    with openai.OpenAI(api_key="x", webhook_secret=secret) as client:
        event = client.webhooks.unwrap(received.body.decode(), headers)
    assert event.type == json.loads(received.body)["type"]


def test_the_official_libraries_verify_a_delivery(database: Database, deliverer: Deliverer, receiver: Receiver) -> None:
    endpoint = an_endpoint(database, receiver.url())
    job_id = completed(database)

    deliver(database, deliverer)

    (received,) = receiver.received
    verify(received, endpoint.secret)
    event = json.loads(received.body)
    assert (event["object"], event["type"]) == ("event", "job.completed")
    assert (event["data"]["id"], event["data"]["status"]) == (job_id, "completed")
    assert "signature=" in event["data"]["images"][0]["url"]
    assert received.headers["content-type"] == "application/json"
    assert [(row.status, row.status_code) for row in rows(database)] == [("delivered", 200)]
    with pytest.raises(WebhookVerificationError):
        Webhook(signing.new_secret()).verify(received.body, dict(received.headers))


def test_both_secrets_verify_while_one_is_replaced(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    endpoint = an_endpoint(database, receiver.url())
    new = signing.new_secret()
    database.execute(webhooks.rotate(DEFAULT_PROJECT, endpoint.id, new, keep_previous=True))
    completed(database)
    deliver(database, deliverer)
    for secret in (endpoint.secret, new):
        verify(receiver.received[0], secret)

    database.execute(sa.update(endpoints_table).values(previous_secret_until=sa.func.now()))
    completed(database)
    deliver(database, deliverer)
    verify(receiver.received[1], new)
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoint.secret).verify(receiver.received[1].body, dict(receiver.received[1].headers))


def test_a_jobs_own_receiver_gets_a_signature_if_it_gave_a_secret(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    secret = signing.new_secret()
    for own in (secret, None):
        completed(database, webhook={"url": receiver.url(), "events": ["job.completed"], "secret": own})
        deliver(database, deliverer)

    verify(receiver.received[0], secret)
    assert "webhook-signature" not in receiver.received[1].headers
    assert receiver.received[1].headers["webhook-id"].startswith("evt_")


def test_a_retry_has_the_same_id_and_a_new_signature(
    database: Database, deliverer: Deliverer, receiver: Receiver
) -> None:
    endpoint = an_endpoint(database, receiver.url())
    completed(database)
    receiver.behave = answering(500, body=b"not \x00 today")
    deliver(database, deliverer)
    (row,) = rows(database)
    assert 4.5 <= (row.due_at - datetime.now(UTC)).total_seconds() + 0.5 <= 6.5
    assert (row.status, row.error_code, row.status_code) == ("pending", "http_error", 500)
    (attempt,) = database.execute(deliveries.attempts_of(row.id))
    assert attempt.answer == "not \ufffd today"

    database.execute(sa.update(table).values(due_at=sa.func.now()))
    receiver.behave = answering(200)
    deliver(database, deliverer)

    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == row.event_id
    for received in (first, second):
        verify(received, endpoint.secret)


@pytest.mark.parametrize(
    ("status", "headers", "least", "most"),
    [
        (429, {"retry-after": "120"}, 119, 121),
        (503, {"retry-after": "999999999999999"}, 86_300, 86_500),
        (503, {"retry-after": "1"}, 4, 6),
        (301, {"location": "http://127.0.0.1:1/"}, 4, 6),
        (429, {"retry-after": "soon"}, 4, 6),
    ],
)
def test_what_a_receiver_asks_for_is_waited_for(
    database: Database,
    deliverer: Deliverer,
    receiver: Receiver,
    status: int,
    headers: dict[str, str],
    least: float,
    most: float,
) -> None:
    an_endpoint(database, receiver.url())
    completed(database)
    receiver.behave = answering(status, headers)

    deliver(database, deliverer)

    (row,) = rows(database)
    assert least <= (row.due_at - datetime.now(UTC)).total_seconds() + 0.5 <= most + 0.5


def test_an_address_inside_is_a_failure_that_its_owner_can_read(database: Database, deliverer: Deliverer) -> None:
    an_endpoint(database, "http://10.0.0.1/")
    completed(database)

    deliver(database, deliverer)

    assert [(row.status, row.error_code) for row in rows(database)] == [("pending", "destination_refused")]


def test_a_receiver_that_is_gone_is_disabled(database: Database, deliverer: Deliverer, receiver: Receiver) -> None:
    endpoint = an_endpoint(database, receiver.url())
    completed(database)
    receiver.behave = answering(410)

    deliver(database, deliverer)

    (found,) = database.execute(webhooks.get_endpoint(DEFAULT_PROJECT, endpoint.id))
    assert found.disabled_reason == "The receiver answered 410 Gone."


def test_a_date_to_wait_for_is_understood() -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    assert retry_after("Sun, 22 Nov 2026 12:02:00 GMT", now) == timedelta(seconds=120)
    assert retry_after("Sun, 22 Nov 2020 12:02:00 GMT", now) == timedelta(0)
    assert retry_after("whenever", now) is None


@pytest.mark.parametrize(
    "text", ["whsec_", "whsec_c2hvcnQ=", "secret", "whsec_" + "a" * 200, "whsec_ünïcode" + "a" * 30]
)
def test_what_is_no_secret_is_told(text: str) -> None:
    assert not signing.is_secret(text)
    assert signing.is_secret(signing.new_secret())


def test_a_project_has_no_more_endpoints_than_it_may(database: Database) -> None:
    def create() -> bool:
        made = webhooks.create(DEFAULT_PROJECT, "x", "https://a.test", FINALS, signing.new_secret(), max_endpoints=3)
        with database.transaction() as connection:
            connection.execute(webhooks.lock_project(DEFAULT_PROJECT))
            return bool(connection.execute(made))

    with ThreadPoolExecutor(8) as threads:
        made = [one.result() for one in [threads.submit(create) for _ in range(16)]]

    assert made.count(True) == len(database.execute(webhooks.list_endpoints(DEFAULT_PROJECT, limit=9))) == 3


def test_what_is_known_of_receivers_is_their_last_sending_and_bounded() -> None:
    receivers = EndpointHealth(8)
    for lane, seconds in (("a", 0.1), ("b", 15), ("c", 15), ("a", 15), ("b", 15), ("c", 0.9)):
        receivers.note(lane, seconds)
    assert (receivers.quick(), receivers.slow(), receivers.for_others) == (["c"], ["a", "b"], 4)

    for number in range(2 * MAX_DESTINATIONS):
        receivers.note(f"{number}", 15)
    assert (len(receivers.slow()), receivers.slow()[-1]) == (MAX_DESTINATIONS, f"{2 * MAX_DESTINATIONS - 1}")
    assert receivers.quick() == ["c"]
