"""No request of one project reaches what belongs to another, whatever id it has at whatever place.

The requests are made from the OpenAPI document: each of its operations, each path and query parameter, header and
field of a body, and each field of a batch's lines gets the ids of another project's things. A new route or field is
covered as soon as it is in the document.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import sqlalchemy as sa

from api.app import create_app
from cli.local.embedded import EmbeddedValkey
from core import keys
from core.batches.requests import OPERATIONS
from core.fine_tuning import queries, transitions
from core.fine_tuning.transitions import NewFineTuningJob
from core.ids import new_id
from core.scopes import Scope
from core.settings import Settings
from core.tables import DEFAULT_PROJECT, fine_tuned_models, jobs, usage_entries
from core.tables.base import metadata
from tests.factories import a_key
from tests.hostile.openapi import Document, Place, with_value
from tests.images import an_image, encode
from tests.stack import Stack, body
from tests.waiting import PATIENCE, until

DOCUMENT = Document(create_app(Settings()).openapi())
PLACES = list(DOCUMENT.places())
MARK = "adas-secret"
"""Part of every text of the owner."""

PROJECTS = "/v1/organization/projects/"

FREE_TEXT = {
    "key",
    "receipt",
    "prompt",
    "negative_prompt",
    "parameters",
    "metadata",
    "custom_id",
    "name",
    "errors",
    "filename",
    "response",
    "warnings",  # they quote the request
}
"""Columns that may hold any text of a client."""


@dataclass(frozen=True, slots=True)
class Tenants:
    """A Safelight with two projects: the owner of things, and a stranger who knows their ids."""

    stack: Stack
    owner: httpx.Client
    stranger: httpx.Client
    stranger_project: str
    ids: Mapping[str, str]
    operator: httpx.Client
    """The stranger with a key of the scope `admin`, for the calls about keys of the own project."""
    rows_before: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    """The rows of the owner before any request of the stranger."""

    def rows(self, project_id: str) -> dict[str, list[dict[str, Any]]]:
        """All rows of a project, by table."""
        by_table = {}
        for table in metadata.sorted_tables:
            if table.name in ("api_keys", "storage_use"):  # last use, and counts of the sweep
                continue
            if "project_id" in table.c:
                condition = table.c.project_id == project_id
            elif "job_id" in table.c:
                condition = table.c.job_id.in_(sa.select(jobs.c.id).where(jobs.c.project_id == project_id))
            else:
                continue
            row = sa.func.to_jsonb(sa.literal_column(table.name))
            statement = sa.select(row).select_from(table).where(condition).order_by(sa.cast(row, sa.Text))
            by_table[table.name] = [row[0] for row in self.stack.database.execute(statement)]
        return by_table


@pytest.fixture(scope="module")
def tenants(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Tenants]:
    with Stack(directory / "tenants", fresh_database(), valkey.url, SAFELIGHT_AUTH="on") as stack:
        stack.api()
        stack.worker()
        stack.sweep()
        (project,) = stack.database.execute(keys.add_project("stranger"))
        operator_key = a_key(stack.database, project, tuple(Scope))
        with (
            client(stack, DEFAULT_PROJECT) as owner,
            client(stack, project) as stranger,
            client(stack, project, operator_key) as operator,
        ):
            ids = things_of(owner, stack)
            until(lambda: not stack.database.execute(sa.select(usage_entries.c.seq)))  # the sweep adds them up
            before = Tenants(stack, owner, stranger, project, ids, operator).rows(DEFAULT_PROJECT)
            yield Tenants(stack, owner, stranger, project, ids, operator, before)


def client(stack: Stack, project_id: str, key: str | None = None) -> httpx.Client:
    key = key or a_key(stack.database, project_id)
    return httpx.Client(base_url=stack.url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE)


def things_of(owner: httpx.Client, stack: Stack) -> dict[str, str]:
    """One thing of each kind, by a name that says what it is."""
    endpoint = {"name": MARK, "url": f"http://127.0.0.1:4999/{MARK}", "event_types": ["job.completed"]}
    ids = {"endpoint": body(owner.post("/v1/webhook_endpoints", json=endpoint))["id"]}
    request = {"prompt": MARK, "size": "64x64", "metadata": {"user": f"{MARK}-user"}}
    job = body(owner.post("/v1/jobs", json=request, headers={"idempotency-key": f"{MARK}-key"}))
    final = body(owner.get(f"/v1/jobs/{job['id']}", params={"wait": 60}))
    ids |= {"job": job["id"], "image": final["images"][0]["id"], "user": f"{MARK}-user", "key": f"{MARK}-key"}
    ids["delivery"] = body(owner.get("/v1/webhook_deliveries", params={"job_id": job["id"]}))["data"][0]["id"]
    image = {"file": (f"{MARK}.png", encode(an_image()))}
    ids["file"] = body(owner.post("/v1/files", data={"purpose": "vision"}, files=image))["id"]
    line = {"custom_id": MARK, "method": "POST", "url": "/v1/jobs", "body": request}
    lines = {"file": (f"{MARK}.jsonl", json.dumps(line).encode())}
    ids["batch_file"] = body(owner.post("/v1/files", data={"purpose": "batch"}, files=lines))["id"]
    batch = body(owner.post("/v1/batches", json={"input_file_id": ids["batch_file"], "endpoint": "/v1/jobs"}))
    ids["batch"] = batch["id"]
    until(lambda: body(owner.get(f"/v1/batches/{batch['id']}"))["status"] == "completed")
    ids["output_file"] = body(owner.get(f"/v1/batches/{batch['id']}"))["output_file_id"]
    ids["api_key"] = next(
        row.id for row in stack.database.execute(keys.list_keys()) if row.project_id == DEFAULT_PROJECT
    )
    ids |= fine_tuning_of(owner, stack)
    events = stack.database.execute(sa.text("SELECT max(id)::text FROM job_events"))
    return ids | {"event": events[0][0], "project": DEFAULT_PROJECT}


def fine_tuning_of(owner: httpx.Client, stack: Stack) -> dict[str, str]:
    """A fine-tuning job that waits, its event, and a model with a checkpoint."""
    image = {"file": (f"{MARK}.jsonl", b"{}")}
    file = body(owner.post("/v1/files", data={"purpose": "fine-tune"}, files=image))["id"]
    new = NewFineTuningJob(
        DEFAULT_PROJECT, "fake", file, 1, {"values": {}, "param": "hyperparameters"}, suffix=MARK, metadata={"a": MARK}
    )
    stack.database.execute(transitions.submit(new, 1))
    name = f"ft:fake:{DEFAULT_PROJECT}:{MARK}:00000000"
    model = {
        "id": name,
        "project_id": DEFAULT_PROJECT,
        "fine_tuning_job_id": new.id,
        "model": "fake",
        "checkpoint_id": new_id("ftckpt"),
        "step": 1,
        "metrics": {},
        "storage_key": f"fine_tuning/{new.id}/lora",
        "bytes": 1,
        "sha256": "0" * 64,
    }
    stack.database.execute(sa.insert(fine_tuned_models).values(model))
    (event, *_) = stack.database.execute(queries.list_events(new.id, limit=1))
    names = {"tuned_model": name, "checkpoint": str(model["checkpoint_id"])}
    return {"training_file": file, "fine_tuning_job": new.id, "fine_tuning_event": event.id, **names}


def send(tenants: Tenants, place: Place, value: str) -> httpx.Response:
    """A request with a value at a place. Other path parameters are those of a thing that does not exist."""
    path, query, headers = place.path, {}, {"prefer": "respond-async"}
    content: dict[str, Any] = {}
    if place.path.startswith(PROJECTS) and place.names[0] != "project_id":
        path = path.replace("{project_id}", tenants.stranger_project)
    if place.location == "path":
        path = path.replace("{" + str(place.names[0]) + "}", value)
    elif place.location == "query":
        query = {str(place.names[0]): value}
    elif place.location == "header":
        headers[str(place.names[0])] = value
    path = path.replace("{", "").replace("}", "")
    is_form = place.location == "form"
    request_body = DOCUMENT.body(place.path, place.method, "form" if is_form else "json")
    if place.location in ("json", "form"):
        request_body = with_value(request_body, place.names, value)
    if is_form:
        content["files"] = [(name, (None, as_text(item))) for name, item in request_body.items()]
    elif place.method in ("POST", "PUT", "PATCH"):
        content["json"] = request_body
    sender = tenants.operator if place.path.startswith(PROJECTS) else tenants.stranger
    return sender.request(place.method, path, params=query, headers=headers, **content)


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def check_answer(tenants: Tenants, answer: httpx.Response, value: str) -> None:
    """The answer shows nothing of the owner, except the value that the stranger sent."""
    text = f"{answer.headers} {answer.content.decode(errors='replace')}"
    for sent in (value, json.dumps(value)[1:-1]):
        text = text.replace(sent, "")
        text = text.replace(quote(sent, safe=""), "")
    seen = [name for name, foreign_id in tenants.ids.items() if foreign_id in text and len(foreign_id) > 4]
    assert not seen, (seen, text)
    assert MARK not in text, text
    assert answer.status_code < 500, text


def holds_ids(place: Place) -> bool:
    """Whether a place is meant for an id, by its name. Other places get one id instead of all."""
    name = str(next((name for name in reversed(place.names) if isinstance(name, str)), ""))
    return place.location in ("path", "query", "header") or name.endswith(
        ("id", "ids", "image", "mask", "after", "user")
    )


def some_ids(ids: Mapping[str, str], place: Place) -> dict[str, str]:
    """The ids of things that the place names, and a third of the others, in turn by place."""
    turn = PLACES.index(place)
    return {
        name: value
        for number, (name, value) in enumerate(ids.items())
        if name.split("_")[-1] in str(place) or (number + turn) % 3 == 0
    }


@pytest.mark.parametrize("with_all_ids", [False, pytest.param(True, marks=pytest.mark.hostile)], ids=["some", "all"])
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_foreign_id_leads_nowhere(tenants: Tenants, place: Place, with_all_ids: bool) -> None:
    values = tenants.ids if holds_ids(place) else {"job": tenants.ids["job"]}
    if not with_all_ids:
        values = some_ids(values, place)
    for name, value in values.items():
        if name == "project" and place.location != "path":
            continue
        answer = send(tenants, place, value)
        check_answer(tenants, answer, value)
        if place.location == "path" and place.names[0] != "name":
            assert answer.status_code == 404, (name, answer.text)


def line_bodies(ids: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The endpoint and body of lines with a foreign id in each field of the endpoint's JSON."""
    for endpoint in (*OPERATIONS, "/v1/jobs"):
        for place in PLACES:
            if (place.path, place.location) == (endpoint, "json") and holds_ids(place):
                for value in ids.values():
                    yield endpoint, with_value(DOCUMENT.body(endpoint, "POST", "json"), place.names, value)


@pytest.mark.parametrize("endpoint", [*OPERATIONS, "/v1/jobs"])
def test_a_foreign_id_in_a_line_leads_nowhere(tenants: Tenants, endpoint: str) -> None:
    bodies = [line_body for line_endpoint, line_body in line_bodies(tenants.ids) if line_endpoint == endpoint]
    lines = [
        json.dumps({"custom_id": f"line {number}", "method": "POST", "url": endpoint, "body": line_body})
        for number, line_body in enumerate(bodies)
    ]
    files = {"file": ("lines.jsonl", "\n".join(lines).encode())}
    file_id = body(tenants.stranger.post("/v1/files", data={"purpose": "batch"}, files=files))["id"]

    dry_run = {"input_file_id": file_id, "endpoint": endpoint, "dry_run": True}
    answer = tenants.stranger.post("/v1/batches", json=dry_run)
    batch = body(tenants.stranger.post("/v1/batches", json=dry_run | {"dry_run": False}))
    until(lambda: body(tenants.stranger.get(f"/v1/batches/{batch['id']}"))["status"] in ("failed", "completed"))
    final = body(tenants.stranger.get(f"/v1/batches/{batch['id']}"))

    assert (answer.status_code, final["status"]) == (200, "failed")
    texts = [error["message"] for part in (body(answer), final) if part["errors"] for error in part["errors"]["data"]]
    for sent in (tenants.ids["user"], tenants.ids["key"], *(value for value in tenants.ids.values() if MARK in value)):
        texts = [text.replace(sent, "") for text in texts]
    assert texts
    assert not [text for text in texts if MARK in text]


def test_nothing_of_the_owner_has_changed(tenants: Tenants) -> None:
    """After all requests."""
    assert tenants.rows(DEFAULT_PROJECT) == tenants.rows_before


def test_nothing_of_the_stranger_refers_to_the_owner(tenants: Tenants) -> None:
    """After all requests: no row of the stranger has an id of the owner where it means something."""
    for table, rows in tenants.rows(tenants.stranger_project).items():
        for row in rows:
            free = FREE_TEXT | ({"data"} if table == "audit_events" else set())  # the log quotes requests
            text = json.dumps({name: value for name, value in row.items() if name not in free})
            ids = [name for name, foreign_id in tenants.ids.items() if len(foreign_id) > 12 and foreign_id in text]
            assert not ids, (table, row)


def test_the_document_has_places_for_ids() -> None:
    """The requests are not empty: the document is read as it is meant."""
    names = {str(place) for place in PLACES}
    assert "POST /v1/jobs json image.file_id" in names
    assert "GET /v1/jobs query after" in names
    assert "POST /v1/batches json input_file_id" in names
    assert "DELETE /v1/files/{file_id} path file_id" in names
    assert "POST /v1/jobs header idempotency-key" in names
    assert len(PLACES) > 150
