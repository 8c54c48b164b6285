"""Webhooks by the OpenAI SDK: endpoints, events received and verified, failures shown and redelivered."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import openai
import pytest
from standardwebhooks.webhooks import Webhook

from core.event_types import event_names
from core.outbox.signing import new_secret
from core.webhooks import endpoints
from tests.receiver import Receiver, answering, hang
from tests.stack import Stack, body
from tests.waiting import PATIENCE

EVENTS = event_names(for_webhooks=True)
ENDED: Any = ["job.completed", "job.failed", "job.cancelled", "job.expired"]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def client(safelight: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="none", base_url=f"{safelight.url}/v1", max_retries=0) as sdk_client:
        yield sdk_client


@pytest.fixture
def endpoint(client: openai.OpenAI, receiver: Receiver) -> Iterator[Any]:
    new_endpoint = client.webhooks.create(name="mine", url=receiver.url(), event_types=ENDED)
    yield new_endpoint
    client.webhooks.delete(new_endpoint.id)


def test_an_endpoint_gets_the_end_of_a_job(
    safelight: Stack, client: openai.OpenAI, endpoint: Any, receiver: Receiver
) -> None:
    job = safelight.submit(n=2)

    (request,) = receiver.until(1)

    event: Any = client.webhooks.unwrap(request.body.decode(), dict(request.headers), secret=endpoint.signing_secret)
    assert (event.type, event.id) == ("job.completed", request.headers["webhook-id"])
    data = json.loads(request.body)["data"]
    assert data == safelight.job(job["id"]) | {"images": data["images"]}
    assert [len(safelight.image(image)) for image in data["images"]] == [image["bytes"] for image in data["images"]]


def test_a_jobs_own_webhook_gets_its_events_from_beginning_to_end(safelight: Stack, receiver: Receiver) -> None:
    secret = new_secret()
    webhook = {"url": receiver.url("/own?job=1"), "events": ["job.started", "job.completed"], "secret": secret}

    job = safelight.submit(webhook=webhook)

    assert job["webhook"] == {"url": webhook["url"], "events": webhook["events"]}
    requests = receiver.until(2)
    assert [json.loads(request.body)["type"] for request in requests] == ["job.started", "job.completed"]
    assert {request.path for request in requests} == {"/own?job=1"}
    for request in requests:
        Webhook(secret).verify(request.body, dict(request.headers))


def test_an_endpoint_gets_the_end_of_a_batch(safelight: Stack, client: openai.OpenAI, receiver: Receiver) -> None:
    kinds: Any = ["batch.completed"]
    endpoint = client.webhooks.create(name="batches", url=receiver.url("/project"), event_types=kinds)
    secret = new_secret()
    webhook = {"url": receiver.url("/own"), "secret": secret}
    fields = {"prompts": ["a cat", "a dog"], "size": "64x64", "webhook": webhook}

    batch = body(safelight.client.post("/v1/batches", json=fields))

    requests = {item.path: item for item in receiver.until(2)}
    assert set(requests) == {"/project", "/own"}
    for path, key in (("/project", endpoint.signing_secret), ("/own", secret)):
        request = requests[path]
        event: Any = client.webhooks.unwrap(request.body.decode(), dict(request.headers), secret=key)
        assert (event.type, event.data.id) == ("batch.completed", batch["id"])
        assert json.loads(request.body)["data"]["request_counts"]["completed"] == 2
    deliveries = body(safelight.client.get("/v1/webhook_deliveries", params={"batch_id": batch["id"]}))["data"]
    assert [(item["job_id"], item["batch_id"], item["event_type"]) for item in deliveries] == [
        (None, batch["id"], "batch.completed")
    ] * 2
    client.webhooks.delete(endpoint.id)


def test_endpoints_have_the_sdks_shape(client: openai.OpenAI, receiver: Receiver) -> None:
    endpoint = client.webhooks.create(name="a", url=receiver.url("/a"), event_types=ENDED)
    assert endpoint.signing_secret.startswith("whsec_")
    assert endpoint.signing_secret_hint == f"whsec_...{endpoint.signing_secret[-4:]}"
    assert endpoint.id in {item.id for item in client.webhooks.list(limit=1)}

    updated_endpoint = client.webhooks.update(endpoint.id, name="b")
    assert (updated_endpoint.name, updated_endpoint.url, updated_endpoint.event_types) == (
        "b",
        receiver.url("/a"),
        ENDED,
    )
    rotation = client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
    assert rotation.signing_secret != endpoint.signing_secret
    assert "signing_secret" not in client.webhooks.retrieve(endpoint.id).model_dump()
    kind: Any = "job.failed"
    assert client.webhooks.test(endpoint.id, event_type=kind).status_code == 200
    (request,) = receiver.requests
    for event_type in EVENTS:
        assert client.webhooks.test(endpoint.id, event_type=cast(Any, event_type)).success
        event = json.loads(receiver.requests[-1].body)
        assert (event["type"], event["data"]["object"]) == (event_type, event_type.partition(".")[0])
    for secret in (endpoint.signing_secret, rotation.signing_secret):
        Webhook(secret).verify(request.body, dict(request.headers))
    assert client.webhooks.event_types.list().data == EVENTS

    assert client.webhooks.delete(endpoint.id).deleted
    for call in (client.webhooks.retrieve, client.webhooks.delete, client.webhooks.rotate_secret):
        with pytest.raises(openai.NotFoundError):
            call(endpoint.id)


def test_what_failed_is_seen_and_sent_again_by_hand(safelight: Stack, endpoint: Any, receiver: Receiver) -> None:
    receiver.behave = answering(410, body=b"moved away")
    job = safelight.submit()
    receiver.until(1)
    delivery = until_over(safelight, job["id"])
    assert (delivery["status"], delivery["attempts"], delivery["status_code"]) == ("failed", 1, 410)
    delivery_page = body(safelight.client.get(f"/v1/webhook_deliveries/{delivery['id']}"))
    assert [(item["number"], item["status_code"], item["answer"]) for item in delivery_page["log"]] == [
        (1, 410, "moved away")
    ]
    endpoint_page = body(safelight.client.get(f"/v1/webhook_endpoints/{endpoint.id}"))
    assert (endpoint_page["enabled"], endpoint_page["disabled_reason"]) == (False, "The receiver answered 410 Gone.")
    refusal = safelight.client.post(f"/v1/webhook_deliveries/{delivery['id']}/redeliver")
    assert (refusal.status_code, body(refusal)["error"]["param"]) == (400, "enabled")

    receiver.behave = answering(200)
    safelight.client.post(f"/v1/webhook_endpoints/{endpoint.id}", json={"enabled": True})
    answer = safelight.client.post(f"/v1/webhook_endpoints/{endpoint.id}/redeliver", json={"since": job["created_at"]})
    event_count = body(answer)["events"]  # of jobs of the same second too, which are as old
    assert event_count >= 1
    receiver.until(1 + event_count)
    assert safelight.client.post(f"/v1/webhook_deliveries/{delivery['id']}/redeliver").status_code == 200
    of_job = [item for item in receiver.until(2 + event_count) if json.loads(item.body)["data"]["id"] == job["id"]]
    assert [item.headers["webhook-id"] for item in of_job] == [delivery["event_id"]] * 3


def until_tried(stack: Stack, job_id: str) -> list[dict[str, Any]]:
    """What was tried for the only delivery of a job, once something has been."""
    deadline = time.monotonic() + PATIENCE
    while True:
        for delivery in body(stack.client.get("/v1/webhook_deliveries", params={"job_id": job_id}))["data"]:
            if log := body(stack.client.get(f"/v1/webhook_deliveries/{delivery['id']}"))["log"]:
                return list(log)
        assert time.monotonic() < deadline


def until_over(stack: Stack, job_id: str) -> dict[str, Any]:
    """The only delivery of a job, once it is no longer pending; nothing announces it."""
    deadline = time.monotonic() + PATIENCE
    while True:
        (delivery,) = body(stack.client.get("/v1/webhook_deliveries", params={"job_id": job_id}))["data"]
        if delivery["status"] != "pending":
            return dict(delivery)
        assert time.monotonic() < deadline


def test_a_project_tests_two_endpoints_at_once(safelight: Stack, client: openai.OpenAI) -> None:
    kind: Any = "job.completed"
    with Receiver(hang) as silent, ThreadPoolExecutor(2) as threads:
        slow = client.webhooks.create(name="slow", url=silent.url(), event_types=ENDED)
        tests = [threads.submit(client.webhooks.test, slow.id, event_type=kind) for _ in range(2)]
        silent.until(2)

        with pytest.raises(openai.RateLimitError, match="two tests of webhook endpoints in progress") as refusal:
            client.webhooks.test(slow.id, event_type=kind)

        assert refusal.value.response.headers["retry-after"] == "5"
        silent.close()
        for test in tests:
            with pytest.raises(openai.BadRequestError, match="could not be reached"):
                test.result()
        client.webhooks.delete(slow.id)


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
    closed_receiver = Receiver()
    closed_receiver.close()
    endpoint = client.webhooks.create(name="gone", url=closed_receiver.url(), event_types=ENDED)
    kind: Any = "job.failed"
    with pytest.raises(openai.BadRequestError, match="does not accept connections"):
        client.webhooks.test(endpoint.id, event_type=kind)
    client.webhooks.delete(endpoint.id)


def test_a_project_has_a_limit_of_endpoints_and_a_lower_one_per_host(own: Stack, receiver: Receiver) -> None:
    own.environment["SAFELIGHT_MAX_WEBHOOK_ENDPOINTS"] = "3"
    own.environment["SAFELIGHT_MAX_WEBHOOK_ENDPOINTS_PER_HOST"] = "2"
    own.api()
    with openai.OpenAI(api_key="none", base_url=f"{own.url}/v1", max_retries=0) as client:

        def create(url: str) -> str:
            return str(client.webhooks.create(name="a", url=url, event_types=ENDED).id)

        first = create(receiver.url("/a"))
        with pytest.raises(openai.BadRequestError, match=f"{first} has this url already, and receives job.cancelled"):
            create(receiver.url("/a"))
        create(receiver.url("/b"))
        with pytest.raises(openai.BadRequestError, match=r"2 webhook endpoints on the host.*ENDPOINTS_PER_HOST"):
            create(receiver.url("/c"))
        elsewhere = create("https://example.com/")
        with pytest.raises(openai.BadRequestError, match="on the host of this url"):
            client.webhooks.update(elsewhere, url="http://127.0.0.1:1024/c")
        client.webhooks.update(first, url=receiver.url("/d"))
        with pytest.raises(openai.BadRequestError, match=r"has 3 webhook endpoints.*SAFELIGHT_MAX_WEBHOOK_ENDPOINTS"):
            create("https://example.org/")
        client.webhooks.delete(first)
        create("https://example.org/")


def test_endpoints_that_exist_on_one_host_stay_and_a_jobs_own_webhook_is_not_posted_twice(
    safelight: Stack, receiver: Receiver
) -> None:
    """Endpoints of a version without the limit."""
    urls = [receiver.url(f"/{number}") for number in range(12)]
    rows = [
        safelight.database.execute(endpoints.create("proj_default", "old", url, ["job.completed"], new_secret()))[0]
        for url in urls
    ]
    webhook = {"url": urls[0], "events": ["job.completed"]}

    with_both = [safelight.submit(webhook=webhook), safelight.submit(webhook=webhook | {"secret": new_secret()})]

    counts = []
    for job in with_both:
        safelight.final(job["id"])
        counts.append(len(safelight.client.get("/v1/webhook_deliveries", params={"job_id": job["id"]}).json()["data"]))
    for row in rows:
        safelight.database.execute(endpoints.delete("proj_default", row.id))
    assert counts == [12, 13]


def test_the_reason_why_a_receiver_was_not_reached_is_shown_to_its_owner(
    safelight: Stack, client: openai.OpenAI
) -> None:
    with Receiver(tls=True) as receiver:
        endpoint = client.webhooks.create(name="tls", url=receiver.url(scheme="https"), event_types=ENDED)
        job = safelight.submit()
        log = until_tried(safelight, job["id"])
        client.webhooks.delete(endpoint.id)

    (attempt,) = log
    assert (attempt["error_code"], attempt["status_code"], attempt["answer"]) == ("certificate_untrusted", None, None)


def test_the_openapi_document_describes_what_receivers_get(safelight: Stack) -> None:
    document = body(safelight.client.get("/openapi.json"))

    assert set(document["webhooks"]) == set(EVENTS)
    schema = document["webhooks"]["job.completed"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/Event"}
    assert "422" not in document["webhooks"]["job.completed"]["post"]["responses"]


def test_a_retried_job_keeps_its_receiver(safelight: Stack, receiver: Receiver) -> None:
    job = safelight.submit(model="elsewhere", webhook={"url": receiver.url(), "events": ["job.cancelled"]})
    safelight.client.post(f"/v1/jobs/{job['id']}/cancel")
    receiver.until(1)

    retried_job = body(safelight.client.post(f"/v1/jobs/{job['id']}/retry"))
    safelight.client.post(f"/v1/jobs/{retried_job['id']}/cancel")

    assert [json.loads(request.body)["data"]["id"] for request in receiver.until(2)] == [job["id"], retried_job["id"]]
