"""Webhooks by the OpenAI SDK: endpoints made, events received and verified, failures seen and sent again."""

import json
import time
from collections.abc import Iterator
from typing import Any, cast

import openai
import pytest
from standardwebhooks.webhooks import Webhook

from core.event_types import event_names
from core.outbox.signing import new_secret
from tests.receiver import Receiver, answering
from tests.stack import Stack, body

EVENTS = event_names(for_webhooks=True)
ENDED: Any = ["job.completed", "job.failed", "job.cancelled", "job.expired"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


@pytest.fixture
def client(safelight: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none", base_url=f"{safelight.url}/v1", max_retries=0) as one:
        yield one


@pytest.fixture
def endpoint(client: openai.OpenAI, receiver: Receiver) -> Iterator[Any]:
    made = client.webhooks.create(name="mine", url=receiver.url(), event_types=ENDED)
    yield made
    client.webhooks.delete(made.id)


def test_an_endpoint_is_told_how_a_job_ended(
    safelight: Stack, client: openai.OpenAI, endpoint: Any, receiver: Receiver
) -> None:
    job = safelight.submit(n=2)

    (received,) = receiver.until(1)

    event: Any = client.webhooks.unwrap(received.body.decode(), dict(received.headers), secret=endpoint.signing_secret)
    assert (event.type, event.id) == ("job.completed", received.headers["webhook-id"])
    told = json.loads(received.body)["data"]
    assert told == safelight.job(job["id"]) | {"images": told["images"]}
    assert [len(safelight.image(image)) for image in told["images"]] == [image["bytes"] for image in told["images"]]


def test_a_jobs_own_receiver_is_told_from_beginning_to_end(safelight: Stack, receiver: Receiver) -> None:
    secret = new_secret()
    own = {"url": receiver.url("/own?job=1"), "events": ["job.started", "job.completed"], "secret": secret}

    job = safelight.submit(webhook=own)

    assert job["webhook"] == {"url": own["url"], "events": own["events"]}
    received = receiver.until(2)
    assert [json.loads(one.body)["type"] for one in received] == ["job.started", "job.completed"]
    assert {one.path for one in received} == {"/own?job=1"}
    for one in received:
        Webhook(secret).verify(one.body, dict(one.headers))


def test_the_end_of_a_batch_is_told(safelight: Stack, client: openai.OpenAI, receiver: Receiver) -> None:
    kinds: Any = ["batch.completed"]
    made = client.webhooks.create(name="batches", url=receiver.url("/project"), event_types=kinds)
    secret = new_secret()
    own = {"url": receiver.url("/own"), "secret": secret}
    sent = {"prompts": ["a cat", "a dog"], "size": "64x64", "webhook": own}

    batch = body(safelight.client.post("/v1/batches", json=sent))

    received = {one.path: one for one in receiver.until(2)}
    assert set(received) == {"/project", "/own"}
    for path, key in (("/project", made.signing_secret), ("/own", secret)):
        told = received[path]
        event: Any = client.webhooks.unwrap(told.body.decode(), dict(told.headers), secret=key)
        assert (event.type, event.data.id) == ("batch.completed", batch["id"])
        assert json.loads(told.body)["data"]["request_counts"]["completed"] == 2
    deliveries = body(safelight.client.get("/v1/webhook_deliveries", params={"batch_id": batch["id"]}))["data"]
    assert [(one["job_id"], one["batch_id"], one["event_type"]) for one in deliveries] == [
        (None, batch["id"], "batch.completed")
    ] * 2
    client.webhooks.delete(made.id)


def test_endpoints_have_the_sdks_shape(client: openai.OpenAI, receiver: Receiver) -> None:
    made = client.webhooks.create(name="a", url=receiver.url("/a"), event_types=ENDED)
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint == f"whsec_...{made.signing_secret[-4:]}"
    assert made.id in {one.id for one in client.webhooks.list(limit=1)}

    renamed = client.webhooks.update(made.id, name="b")
    assert (renamed.name, renamed.url, renamed.event_types) == ("b", receiver.url("/a"), ENDED)
    rotated = client.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert rotated.signing_secret != made.signing_secret
    assert "signing_secret" not in client.webhooks.retrieve(made.id).model_dump()
    kind: Any = "job.failed"
    assert client.webhooks.test(made.id, event_type=kind).status_code == 200
    (received,) = receiver.received
    for every in EVENTS:
        assert client.webhooks.test(made.id, event_type=cast(Any, every)).success
        sent = json.loads(receiver.received[-1].body)
        assert (sent["type"], sent["data"]["object"]) == (every, every.partition(".")[0])
    for secret in (made.signing_secret, rotated.signing_secret):
        Webhook(secret).verify(received.body, dict(received.headers))
    assert client.webhooks.event_types.list().data == EVENTS

    assert client.webhooks.delete(made.id).deleted
    for call in (client.webhooks.retrieve, client.webhooks.delete, client.webhooks.rotate_secret):
        with pytest.raises(openai.NotFoundError):
            call(made.id)


def test_what_failed_is_seen_and_sent_again_by_hand(safelight: Stack, endpoint: Any, receiver: Receiver) -> None:
    receiver.behave = answering(410, body=b"moved away")
    job = safelight.submit()
    receiver.until(1)
    delivery = until_over(safelight, job["id"])
    assert (delivery["status"], delivery["attempts"], delivery["status_code"]) == ("failed", 1, 410)
    shown = body(safelight.client.get(f"/v1/webhook_deliveries/{delivery['id']}"))
    assert [(one["number"], one["status_code"], one["answer"]) for one in shown["log"]] == [(1, 410, "moved away")]
    found = body(safelight.client.get(f"/v1/webhook_endpoints/{endpoint.id}"))
    assert (found["enabled"], found["disabled_reason"]) == (False, "The receiver answered 410 Gone.")
    refused = safelight.client.post(f"/v1/webhook_deliveries/{delivery['id']}/redeliver")
    assert (refused.status_code, body(refused)["error"]["param"]) == (400, "enabled")

    receiver.behave = answering(200)
    safelight.client.post(f"/v1/webhook_endpoints/{endpoint.id}", json={"enabled": True})
    sent = safelight.client.post(f"/v1/webhook_endpoints/{endpoint.id}/redeliver", json={"since": job["created_at"]})
    missed = body(sent)["events"]  # of jobs of the same second too, which are as old
    assert missed >= 1
    receiver.until(1 + missed)
    assert safelight.client.post(f"/v1/webhook_deliveries/{delivery['id']}/redeliver").status_code == 200
    of_job = [one for one in receiver.until(2 + missed) if json.loads(one.body)["data"]["id"] == job["id"]]
    assert [one.headers["webhook-id"] for one in of_job] == [delivery["event_id"]] * 3


def until_tried(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """What was tried for the only delivery of a job, once something has been."""
    deadline = time.monotonic() + 30
    while True:
        for delivery in body(stack.client.get("/v1/webhook_deliveries", params={"job_id": job_id}))["data"]:
            if log := body(stack.client.get(f"/v1/webhook_deliveries/{delivery['id']}"))["log"]:
                return list(log)
        assert time.monotonic() < deadline


def until_over(stack: Stack, job_id: str) -> dict[str, Any]:
    """The only delivery of a job, once it is no longer pending; the database has no bell for it."""
    deadline = time.monotonic() + 30
    while True:
        (delivery,) = body(stack.client.get("/v1/webhook_deliveries", params={"job_id": job_id}))["data"]
        if delivery["status"] != "pending":
            return dict(delivery)
        assert time.monotonic() < deadline


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("webhook_endpoints", {"url": "http://10.0.0.1/"}, "url"),
        ("webhook_endpoints", {"url": "http://169.254.169.254/latest"}, "url"),
        ("webhook_endpoints", {"url": "https://user:pass@example.com/"}, "url"),
        ("webhook_endpoints", {"url": "ftp://example.com/"}, "url"),
        ("webhook_endpoints", {"event_types": []}, "event_types"),
        ("webhook_endpoints", {"event_types": ["job.done"]}, "event_types.0"),
        ("webhook_endpoints", {"name": ""}, "name"),
        ("webhook_endpoints", {"colour": "red"}, "colour"),
        ("jobs", {"webhook": {"url": "http://192.168.0.1:9000/x"}}, "webhook.url"),
        ("jobs", {"webhook": {"url": "https://example.com/", "secret": "abc"}}, "webhook.secret"),
        ("jobs", {"webhook": {"url": "https://example.com/", "events": ["batch.completed"]}}, "webhook.events.0"),
        ("jobs", {"webhook": {"url": "https://example.com/", "what": 1}}, "webhook.what"),
        ("jobs", {"webhook": {}}, "webhook.url"),
    ],
)
def test_what_is_wrong_is_refused_by_name(safelight: Stack, path: str, fields: dict[str, Any], param: str) -> None:
    right: dict[str, dict[str, Any]] = {
        "webhook_endpoints": {"name": "x", "url": "https://example.com/", "event_types": ["job.failed"]},
        "jobs": {"prompt": "a cat", "size": "64x64"},
    }

    answer = safelight.client.post(f"/v1/{path}", json=right[path] | fields)

    assert (answer.status_code, body(answer)["error"]["param"]) == (400, param)


def test_a_receiver_that_is_not_there_fails_its_test(safelight: Stack, client: openai.OpenAI) -> None:
    gone = Receiver()
    gone.close()
    made = client.webhooks.create(name="gone", url=gone.url(), event_types=ENDED)
    kind: Any = "job.failed"
    with pytest.raises(openai.BadRequestError, match="does not take connections"):
        client.webhooks.test(made.id, event_type=kind)
    client.webhooks.delete(made.id)


def test_a_project_has_a_limit_of_endpoints(own: Stack, receiver: Receiver) -> None:
    own.environment["SAFELIGHT_MAX_WEBHOOK_ENDPOINTS"] = "2"
    own.api()
    with openai.OpenAI(api_key="none", base_url=f"{own.url}/v1", max_retries=0) as client:
        first, _ = (client.webhooks.create(name="a", url=receiver.url(), event_types=ENDED) for _ in range(2))
        with pytest.raises(openai.BadRequestError, match=r"has 2 webhook endpoints.*SAFELIGHT_MAX_WEBHOOK_ENDPOINTS"):
            client.webhooks.create(name="b", url=receiver.url(), event_types=ENDED)
        client.webhooks.delete(first.id)
        client.webhooks.create(name="b", url=receiver.url(), event_types=ENDED)


def test_why_a_receiver_was_not_reached_is_told_to_its_owner(safelight: Stack, client: openai.OpenAI) -> None:
    with Receiver(tls=True) as receiver:
        made = client.webhooks.create(name="tls", url=receiver.url(scheme="https"), event_types=ENDED)
        job = safelight.submit()
        log = until_tried(safelight, job["id"])
        client.webhooks.delete(made.id)

    (attempt,) = log
    assert (attempt["error_code"], attempt["status_code"], attempt["answer"]) == ("certificate_untrusted", None, None)


def test_the_document_tells_what_receivers_get(safelight: Stack) -> None:
    document = body(safelight.client.get("/openapi.json"))

    assert set(document["webhooks"]) == set(EVENTS)
    sent = document["webhooks"]["job.completed"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert sent == {"$ref": "#/components/schemas/Event"}
    assert "422" not in document["webhooks"]["job.completed"]["post"]["responses"]


def test_a_retried_job_keeps_its_receiver(safelight: Stack, receiver: Receiver) -> None:
    job = safelight.submit(model="elsewhere", webhook={"url": receiver.url(), "events": ["job.cancelled"]})
    safelight.client.post(f"/v1/jobs/{job['id']}/cancel")
    receiver.until(1)

    again = body(safelight.client.post(f"/v1/jobs/{job['id']}/retry"))
    safelight.client.post(f"/v1/jobs/{again['id']}/cancel")

    assert [json.loads(one.body)["data"]["id"] for one in receiver.until(2)] == [job["id"], again["id"]]
