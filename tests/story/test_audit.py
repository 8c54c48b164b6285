"""The audit log: what happened to keys, webhook endpoints and files, and who did it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cli.main import app as command_line
from core import keys
from core.scopes import Scope
from core.tables import DEFAULT_PROJECT
from tests.stack import Stack, body
from tests.waiting import PATIENCE, until

ENDPOINT = {"name": "a", "url": "https://example.com/", "event_types": ["job.completed"]}


def new_client(stack: Stack, *scopes: Scope) -> tuple[httpx.Client, str]:
    """A client with a key of its own, and the id of the key."""
    key = keys.new_key()
    (key_id,) = stack.database.execute(keys.add(key, DEFAULT_PROJECT, "a test's", scopes))
    return httpx.Client(base_url=stack.url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE), key_id


@pytest.fixture
def operator(guarded: Stack) -> Iterator[httpx.Client]:
    with new_client(guarded, Scope.ADMIN)[0] as client:
        yield client


def events(operator: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    page: list[dict[str, Any]] = body(operator.get("/v1/organization/audit_logs", params=query))["data"]
    return page


def test_what_a_key_does_to_endpoints_files_and_jobs_is_in_the_log(guarded: Stack, operator: httpx.Client) -> None:
    client, key_id = new_client(guarded, *Scope)
    with client:
        endpoint = body(client.post("/v1/webhook_endpoints", json=ENDPOINT))["id"]
        client.post(f"/v1/webhook_endpoints/{endpoint}/rotate_secret", json={})
        client.delete(f"/v1/webhook_endpoints/{endpoint}")
        file = body(client.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("a", b"x")}))["id"]
        client.delete(f"/v1/files/{file}")
        job = body(client.post("/v1/jobs", json={"prompt": "x", "size": "64x64"}))["id"]
        client.get(f"/v1/jobs/{job}", params={"wait": 60})
        client.delete(f"/v1/jobs/{job}")
        batch = body(client.post("/v1/batches", json={"prompts": ["x"], "size": "64x64"}))["id"]
        client.delete(f"/v1/batches/{batch}")
        client.post("/v1/erasures", json={"user": "somebody"})

    page = events(operator, **{"actor_ids[]": key_id})

    assert [(event["type"], event[event["type"]]["id"]) for event in page[1:]] == [
        ("batch.deleted", batch),
        ("job.deleted", job),
        ("file.deleted", file),
        ("webhook_endpoint.deleted", endpoint),
        ("webhook_endpoint.secret_rotated", endpoint),
        ("webhook_endpoint.created", endpoint),
    ]
    assert page[0]["type"] == "user.erased"
    assert "somebody" not in str(page)
    assert {event["actor"]["api_key"]["id"] for event in page} == {key_id}
    assert events(operator, limit=1, after=page[0]["id"]) == page[1:2]
    assert events(operator, limit=1, before=page[1]["id"], **{"actor_ids[]": key_id}) == page[:1]


def test_the_command_shows_who_created_and_revoked_a_key(guarded: Stack, operator: httpx.Client) -> None:
    def safelight(*arguments: str) -> str:
        return CliRunner().invoke(command_line, ["keys", *arguments], env=guarded.environment).output

    key = safelight("create", "guest", "--scope", "read").strip()
    key_id = guarded.database.execute(keys.list_keys())[-1].id
    safelight("revoke", key_id)

    page = events(operator, **{"resource_ids[]": key_id})
    output = safelight("audit")

    assert [event["type"] for event in page] == ["api_key.deleted", "api_key.created"]
    assert page[1]["api_key.created"]["data"] == {"name": "guest", "scopes": ["read"], "prefix": key[:9]}
    assert output.index("api_key.created") < output.index("api_key.deleted")
    assert key not in output + str(page)


def test_calls_with_admin_rights_are_in_the_log(operator: httpx.Client) -> None:
    events(operator)
    (call,) = events(operator, limit=1, **{"event_types[]": "admin.called"})

    assert call["admin.called"]["data"] == {"method": "GET", "path": "/v1/organization/audit_logs"}


def test_refused_keys_are_counted_by_prefix(guarded: Stack, operator: httpx.Client) -> None:
    wrong = {"authorization": "Bearer sl_wrong1" + 37 * "x"}
    for _ in range(3):
        assert guarded.client.get("/v1/jobs", headers=wrong).status_code == 401

    refused = {"event_types[]": "api_key.refused", "limit": 100}
    until(lambda: counts_of("sl_wrong1", events(operator, **refused)))

    assert sum(counts_of("sl_wrong1", events(operator, **refused))) <= 3


def counts_of(prefix: str, page: list[dict[str, Any]]) -> list[int]:
    details = [event["api_key.refused"]["data"] for event in page]
    return [data["count"] for data in details if data["prefix"] == prefix]
