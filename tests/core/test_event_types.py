"""A row of the table of event types is enough: what lists the types is derived from it."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ValidationError

import core
from api import openapi
from api.batches import events as batch_events
from api.jobs import events as job_events
from api.webhooks import routes as webhook_routes
from api.webhooks import schemas
from core.event_types import EVENT_TYPES, EventType, event_names
from core.requests.fields import BatchWebhook, JobWebhook
from core.status import BatchStatus, JobStatus
from core.tables import batch_events as batch_events_table
from core.tables import job_events as job_events_table
from core.webhooks.events import Event, sample

URL = "https://receiver.test/"
ROOT = Path(core.__file__).parent.parent

each_type = pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES)


@pytest.fixture(scope="module")
def document() -> dict[str, object]:
    """The OpenAPI document of the event streams and the webhooks."""
    app = FastAPI()
    for routes in (job_events, batch_events, webhook_routes):
        app.include_router(routes.router)
    webhook_routes.describe(app)
    return openapi.describe(app)


@each_type
def test_a_name_begins_with_the_subject(event_type: EventType) -> None:
    assert event_type.name.partition(".")[0] == event_type.subject


@each_type
def test_webhooks_may_subscribe_where_the_table_says_so(event_type: EventType) -> None:
    own = {"job": JobWebhook, "batch": BatchWebhook}
    fields: dict[type[BaseModel], dict[str, object]] = {
        schemas.EndpointRequest: {"name": "x", "url": URL, "event_types": [event_type.name]},
        schemas.TestRequest: {"event_type": event_type.name},
        own[event_type.subject]: {"url": URL, "events": [event_type.name]},
    }

    for model, values in fields.items():
        if event_type.for_webhooks:
            model.model_validate(values)
        else:
            with pytest.raises(ValidationError, match="must be one of"):
                model.model_validate(values)


@each_type
def test_a_webhook_of_one_subject_has_no_events_of_the_other(event_type: EventType) -> None:
    other = {"job": BatchWebhook, "batch": JobWebhook}[event_type.subject]

    with pytest.raises(ValidationError, match="must be one of"):
        other.model_validate({"url": URL, "events": [event_type.name]})


@each_type
def test_the_sample_is_an_event_with_the_status_of_the_table(event_type: EventType) -> None:
    event = sample("evt_test", event_type.name, datetime.now(UTC), "https://images.test")

    assert (event.data.object, event.data.status) == (event_type.subject, event_type.status)
    assert Event.model_validate(event.model_dump(mode="json")) == event


@each_type
def test_the_document_has_the_event(event_type: EventType, document: dict[str, object]) -> None:
    webhooks, paths = document["webhooks"], document["paths"]
    assert isinstance(webhooks, dict)
    assert isinstance(paths, dict)
    streams = {"job": "/v1/jobs/{job_id}/events", "batch": "/v1/batches/{batch_id}/events"}

    assert (event_type.name in webhooks) == event_type.for_webhooks
    assert f"'{event_type.name}'" in str(paths[streams[event_type.subject]])


@pytest.mark.parametrize("status", [*JobStatus, *BatchStatus], ids=lambda status: f"{type(status).__name__}.{status}")
def test_each_status_has_an_event(status: JobStatus | BatchStatus) -> None:
    assert [event_type for event_type in EVENT_TYPES.values() if event_type.status is status]


def test_a_final_status_has_one_event_that_a_webhook_may_subscribe_to() -> None:
    for subject, statuses in (("job", JobStatus), ("batch", BatchStatus)):
        finals = [EVENT_TYPES[f"{subject}.{status}"] for status in statuses if status.is_final]
        assert {event_type.name for event_type in finals} == {
            event_type.name
            for event_type in EVENT_TYPES.values()
            if event_type.is_final and event_type.subject == subject
        }
        assert all(event_type.for_webhooks for event_type in finals)


def test_the_tables_permit_one_final_event() -> None:
    for table, name, subject in (
        (job_events_table, "uq_job_events_final", "job"),
        (batch_events_table, "uq_batch_events_final", "batch"),
    ):
        (index,) = (index for index in table.indexes if index.name == name)
        where = str(index.dialect_options["postgresql"]["where"])
        assert re.findall(r"'([^']+)'", where) == [
            name for name in event_names() if EVENT_TYPES[name].is_final and EVENT_TYPES[name].subject == subject
        ]


def test_the_code_names_only_events_of_the_table() -> None:
    names = {
        name
        for path in (ROOT / "core").rglob("*.py")
        if path.name != "audit.py"  # it has names of actions
        for name in re.findall(r'"((?:job|batch)\.[a-z_]+)"', path.read_text())
    }

    assert names - {"job.estimate", "batch.estimate"} <= set(EVENT_TYPES)
