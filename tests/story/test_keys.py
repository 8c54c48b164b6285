"""API keys: who may call the API, and what they see."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi.routing import iter_route_contexts
from typer.testing import CliRunner

from api.a1111 import errors as a1111
from api.app import create_app
from api.authentication import scope_of
from cli.main import app as command_line
from core import keys
from core.scopes import Scope
from core.settings import Settings
from core.tables import DEFAULT_PROJECT, api_keys
from tests.factories import a_key
from tests.images import an_image, encode
from tests.stack import Stack, body
from tests.waiting import PATIENCE, until
from worker.batches.processor import BatchProcessor

MINUTE = timedelta(minutes=1)
SMALL = {"prompt": "x", "size": "64x64"}


@pytest.fixture
def ada(guarded: Stack) -> Iterator[httpx.Client]:
    with client(guarded, a_key(guarded.database, DEFAULT_PROJECT)) as http_client:
        yield http_client


def client(stack: Stack, key: str) -> httpx.Client:
    return httpx.Client(base_url=stack.url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE)


def test_without_a_key_nothing_is_answered_but_health_and_signed_links(guarded: Stack, ada: httpx.Client) -> None:
    job = body(ada.post("/v1/jobs", json={"prompt": "x", "size": "64x64"}))
    final = body(ada.get(f"/v1/jobs/{job['id']}", params={"wait": 60}))

    refusals = [
        guarded.client.get(path).status_code
        for path in (
            "/v1/jobs",
            f"/v1/jobs/{job['id']}",
            "/v1/models",
            f"/v1/images/{final['images'][0]['id']}/content",
        )
    ]
    wrong = guarded.client.get("/v1/jobs", headers={"authorization": "Bearer sl_wrong"})

    assert refusals == [401, 401, 401, 401]
    assert (wrong.status_code, body(wrong)["error"]["code"]) == (401, "invalid_api_key")
    assert guarded.client.get("/healthz").status_code == 200
    assert guarded.client.get(final["images"][0]["url"]).status_code == 200


OPEN = {
    "/", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/healthz", "/readyz",
    "/studio/session", "/studio/x/x", "/guide", "/guide/x", "/metrics",
}  # fmt: skip
"""Paths that need no key, and `/metrics`, which checks for itself."""


def guarded_routes() -> Iterator[tuple[str, str, Scope | None]]:
    """Method, path and scope of each route that needs a key, with ids of things that do not exist."""
    for route in iter_route_contexts(create_app(Settings()).routes):
        path = re.sub(r"{.*?}", "x", route.path or "")
        for method in route.methods or () if path not in OPEN else ():
            yield method, path, scope_of(route.endpoint)


@pytest.mark.parametrize("length", ["content-length: 9999999999999", "transfer-encoding: chunked"])
def test_without_a_key_no_route_waits_for_a_body(guarded: Stack, length: str) -> None:
    routes = list(guarded_routes())
    assert len(routes) > 35

    statuses = {(method, path): refusal(guarded, method, path, length)[0] for method, path, _ in routes}

    assert {route: status for route, status in statuses.items() if status != 401} == {}


def test_every_route_needs_a_scope_that_the_key_has(guarded: Stack) -> None:
    unscoped = [(method, path) for method, path, scope in guarded_routes() if scope is None]
    assert not unscoped, "Declare a scope with @requires"

    for scope in Scope:
        others = [other for other in Scope if other is not scope]
        key = f"authorization: Bearer {a_key(guarded.database, scopes=others)}\r\ncontent-length: 9999999999999"
        for method, path in [(method, path) for method, path, needed in guarded_routes() if needed is scope]:
            status, code, message = refusal(guarded, method, path, key)
            assert (status, code) == (403, "insufficient_scope"), path
            assert f"scope {scope}." in message


def refusal(stack: Stack, method: str, path: str, header: str) -> tuple[int, str, str]:
    """The status, code and message of the error of a request whose body is announced and never comes."""
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{header}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", stack.port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        response = HTTPResponse(connection, method=method)
        response.begin()
        content: dict[str, Any] = json.load(response)
        if path.startswith(a1111.PREFIX):
            return response.status, content["error"], content["detail"]
        return response.status, content["error"]["code"], content["error"]["message"]


def test_a_key_of_an_earlier_version_has_all_scopes_but_admin(guarded: Stack) -> None:
    key = keys.new_key()
    values = {"id": "key_0", "project_id": DEFAULT_PROJECT, "name": "old", "prefix": key[:9]}
    guarded.database.execute(sa.insert(api_keys).values(values | {"hash": keys.hash_key(key)}))

    (row,) = [row for row in guarded.database.execute(keys.list_keys()) if row.id == "key_0"]

    assert row.scopes == ["submit", "read", "webhooks"]
    with client(guarded, key) as old:
        assert old.get("/v1/jobs").status_code == 200


def test_a_key_expires(guarded: Stack) -> None:
    with client(guarded, a_key(guarded.database, expires_in=timedelta(seconds=1))) as guest:
        assert guest.get("/v1/jobs").status_code == 200
        until(lambda: guest.get("/v1/jobs").status_code == 401)


def test_the_last_use_of_a_key_is_recorded_a_moment_later(guarded: Stack) -> None:
    def last_use() -> datetime | None:
        return guarded.database.execute(keys.list_keys())[-1].last_used_at

    with client(guarded, a_key(guarded.database)) as guest:
        assert last_use() is None
        guest.get("/v1/jobs")
        until(last_use)
        recorded_at = last_use()
        guest.get("/v1/jobs")
        guarded.database.execute(keys.record_use([guarded.database.execute(keys.list_keys())[-1].id], MINUTE))

    assert last_use() == recorded_at  # once a minute


def test_the_command_creates_lists_and_revokes_keys(guarded: Stack) -> None:
    def safelight(*arguments: str) -> str:
        return CliRunner().invoke(command_line, ["keys", *arguments], env=guarded.environment).output

    created = safelight("create", "guest", "--scope", "read", "--scope", "admin", "--expires-in", "30d").split()
    key, line = created[0], safelight("list").splitlines()[-1]
    with client(guarded, key) as guest:
        statuses = [guest.get("/v1/jobs").status_code, guest.post("/v1/jobs", json={"prompt": "x"}).status_code]
        revoked = safelight("revoke", line.split()[0])
        until(lambda: guest.get("/v1/jobs").status_code == 401)

    assert statuses == [200, 403]
    assert "read,admin" in line
    assert "expires " in line
    assert revoked.endswith("is revoked.\n")
    assert "revoked " in safelight("list").splitlines()[-1]
    assert CliRunner().invoke(command_line, ["keys", "create", "x", "--expires-in", "soon"]).exit_code == 1


def test_jobs_and_batches_say_which_key_submitted_them(guarded: Stack, safelight: Stack) -> None:
    with client(guarded, a_key(guarded.database)) as guest:
        key_id = guarded.database.execute(keys.list_keys())[-1].id
        job = body(guest.post("/v1/jobs", json=SMALL))
        by_prompts = body(guest.post("/v1/batches", json={"prompts": ["x"], "size": "64x64"}))
        by_requests = body(guest.post("/v1/batches", json={"requests": [{"prompt": "x", "size": "64x64"}]}))
        stop = threading.Event()
        processor = threading.Thread(target=BatchProcessor(guarded.settings).run, args=[stop])
        processor.start()
        try:
            until(lambda: lines_of(guest, by_requests))
        finally:
            stop.set()
            processor.join(PATIENCE)
        lines = [*lines_of(guest, by_prompts), *lines_of(guest, by_requests)]

    assert len(lines) == 2
    assert {row["api_key_id"] for row in (job, by_prompts, by_requests, *lines)} == {key_id}
    assert "api_key_id" not in safelight.submit()


def lines_of(guest: httpx.Client, batch: dict[str, Any]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = body(guest.get("/v1/jobs", params={"batch_id": batch["id"]}))["data"]
    return lines


def test_another_projects_things_do_not_exist(guarded: Stack, ada: httpx.Client) -> None:
    job = body(ada.post("/v1/jobs", json={"prompt": "x", "size": "64x64"}, headers={"idempotency-key": "same"}))
    image = body(ada.get(f"/v1/jobs/{job['id']}", params={"wait": 60}))["images"][0]
    file = body(ada.post("/v1/files", data={"purpose": "vision"}, files={"file": ("a.png", encode(an_image()))}))
    (project,) = guarded.database.execute(keys.add_project("eve"))

    with client(guarded, a_key(guarded.database, project)) as eve:
        statuses = [
            eve.get(f"/v1/files/{file['id']}"),
            eve.get(f"/v1/files/{file['id']}/content"),
            eve.delete(f"/v1/files/{file['id']}"),
            eve.get(f"/v1/jobs/{job['id']}"),
            eve.get(f"/v1/jobs/{job['id']}", params={"wait": 1}),
            eve.get(f"/v1/jobs/{job['id']}/events"),
            eve.post(f"/v1/jobs/{job['id']}/cancel"),
            eve.post(f"/v1/jobs/{job['id']}/retry"),
            eve.delete(f"/v1/jobs/{job['id']}"),
            eve.get(f"/v1/images/{image['id']}"),
            eve.get(f"/v1/images/{image['id']}/content"),
        ]
        entries = body(eve.get("/v1/jobs"))["data"] + body(eve.get("/v1/files"))["data"]
        variation = {"operation": "variation", "size": "64x64"}
        stolen = [
            eve.post("/v1/jobs", json=variation | {"image": source})
            for source in ({"file_id": file["id"]}, {"image_id": image["id"]})
        ]
        own_job = eve.post("/v1/jobs", json={"prompt": "x", "size": "64x64"}, headers={"idempotency-key": "same"})

    assert [answer.status_code for answer in statuses] == [404] * 11
    assert [answer.status_code for answer in stolen] == [400, 400]
    assert entries == []
    assert ada.get(f"/v1/files/{file['id']}/content").content == encode(an_image())
    assert own_job.status_code == 202
    assert body(own_job)["id"] != job["id"]


KEYS = f"/v1/organization/projects/{DEFAULT_PROJECT}/api_keys"


@pytest.fixture
def operator(guarded: Stack) -> Iterator[httpx.Client]:
    with client(guarded, a_key(guarded.database, DEFAULT_PROJECT, (Scope.ADMIN, Scope.READ))) as http_client:
        yield http_client


def test_an_operator_makes_lists_and_revokes_the_keys_of_the_own_project(
    guarded: Stack, operator: httpx.Client
) -> None:
    made = operator.post(KEYS, json={"name": "shop", "scopes": ["read"], "expires_in_seconds": 3600})
    key = body(made)
    with client(guarded, key["value"]) as shop:
        before = shop.get("/v1/models").status_code, shop.post("/v1/jobs", json=SMALL).status_code
        first = body(operator.get(KEYS, params={"limit": 1}))
        older = body(operator.get(KEYS, params={"limit": 1, "after": first["last_id"]}))
        fetched = body(operator.get(f"{KEYS}/{key['id']}"))
        deleted = operator.delete(f"{KEYS}/{key['id']}")
        again = operator.delete(f"{KEYS}/{key['id']}")
        until(lambda: shop.get("/v1/models").status_code == 401)
    revoked = body(operator.get(f"{KEYS}/{key['id']}"))
    events = body(operator.get("/v1/organization/audit_logs", params={"resource_ids[]": key["id"]}))["data"]

    assert before == (200, 403)
    assert made.headers["cache-control"] == "no-store"
    assert key["value"] not in json.dumps([first, fetched, events])
    assert key["value"].startswith(key["redacted_value"].removesuffix("..."))
    assert (first["data"][0]["id"], first["has_more"]) == (key["id"], True)
    assert older["data"][0]["id"] < key["id"]
    assert (fetched["scopes"], fetched["is_valid"], fetched["expires_at"] - fetched["created_at"]) == (
        ["read"], True, 3600
    )  # fmt: skip
    assert (body(deleted)["object"], body(deleted)["deleted"]) == ("organization.project.api_key.deleted", True)
    assert (again.status_code, revoked["is_valid"]) == (404, False)
    assert [event["type"] for event in events] == ["api_key.deleted", "api_key.created"]
    assert {event["actor"]["type"] for event in events} == {"api_key"}


def test_a_key_gives_no_scope_that_it_lacks_and_reaches_no_other_project(
    guarded: Stack, operator: httpx.Client, ada: httpx.Client
) -> None:
    (project,) = guarded.database.execute(keys.add_project("another project with keys"))
    foreign = guarded.database.execute(keys.add(keys.new_key(), project, "of another project"))[0]
    more = operator.post(KEYS, json={"name": "more", "scopes": ["read", "submit"]})
    answers = [
        operator.get(f"{KEYS}/{foreign}"),
        operator.delete(f"{KEYS}/{foreign}"),
        operator.get(KEYS.replace(DEFAULT_PROJECT, project)),
        operator.post(KEYS.replace(DEFAULT_PROJECT, project), json={"name": "x", "scopes": ["read"]}),
    ]
    bad = [operator.post(KEYS, json=value) for value in ({}, {"name": "x", "scopes": ["all"]}, {"name": "x", "x": 1})]

    assert (more.status_code, body(more)["error"]["param"]) == (403, "scopes")
    assert [answer.status_code for answer in answers] == [404] * 4
    assert [(answer.status_code, body(answer)["error"]["param"]) for answer in bad] == [
        (400, "name"), (400, "scopes.0"), (400, "x")
    ]  # fmt: skip
    assert operator.get(KEYS, params={"after": foreign}).status_code == 400
    assert [ada.get(KEYS).status_code, ada.post(KEYS, json={"name": "x"}).status_code] == [403, 403]
    assert [row.is_valid for row in guarded.database.execute(keys.list_keys()) if row.id == foreign] == [True]


def test_the_database_keeps_no_key(guarded: Stack) -> None:
    key = a_key(guarded.database, DEFAULT_PROJECT)

    rows = guarded.database.execute(keys.list_keys())

    assert key not in str(rows)
    assert key.startswith(rows[-1].prefix)
