"""Runs in a copy with the event type `job.previewed`: webhooks may subscribe to it, and it is documented."""

from datetime import UTC, datetime

from pydantic import ValidationError

from api.app import create_app
from api.webhooks.schemas import EndpointRequest, TestRequest
from core.event_types import event_names
from core.requests.fields import BatchWebhook, JobWebhook
from core.settings import Settings
from core.webhooks.events import sample

NAME = "job.previewed"
URL = "https://receiver.test/"


def check_openapi() -> None:
    document = create_app(Settings()).openapi()
    assert NAME in document["webhooks"]
    schemas = document["components"]["schemas"]
    assert NAME in schemas["JobWebhook"]["properties"]["events"]["items"]["enum"]
    assert NAME not in schemas["BatchWebhook"]["properties"]["events"]["items"]["enum"]
    assert f"'{NAME}'" in str(document["paths"]["/v1/webhook_endpoints"]["post"]["requestBody"])
    assert f"'{NAME}'" in str(document["paths"]["/v1/jobs/{job_id}/events"])
    assert f"'{NAME}'" not in str(document["paths"]["/v1/batches/{batch_id}/events"])


def check_subscriptions() -> None:
    assert NAME in event_names(for_webhooks=True)
    EndpointRequest.model_validate({"name": "mine", "url": URL, "event_types": [NAME]})
    TestRequest.model_validate({"event_type": NAME})
    JobWebhook.model_validate({"url": URL, "events": [NAME]})
    assert NAME not in JobWebhook.model_validate({"url": URL}).events  # only final ones by default
    try:
        BatchWebhook.model_validate({"url": URL, "events": [NAME]})
    except ValidationError:
        return
    raise AssertionError("a batch has no event of a job")


def check_sample() -> None:
    event = sample("evt_1", NAME, datetime.now(UTC), "https://images.test").model_dump(mode="json")
    assert (event["type"], event["data"]["object"], event["data"]["status"]) == (NAME, "job", "in_progress")


if __name__ == "__main__":
    check_openapi()
    check_subscriptions()
    check_sample()
