"""API keys: who may call the API, and what they see."""

import re
import socket
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from api.app import create_app
from cli.local.embedded import EmbeddedValkey
from core import keys
from core.settings import Settings
from core.tables import DEFAULT_PROJECT
from tests.images import an_image, encode
from tests.stack import Stack, body
from tests.waiting import PATIENCE


@pytest.fixture(scope="module")
def guarded(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    """A Safelight that requires keys."""
    with Stack(directory / "guarded", fresh_database(), valkey.url, SAFELIGHT_AUTH="on") as stack:
        stack.api()
        stack.worker()
        yield stack


def key_for(stack: Stack, project_id: str) -> str:
    key = keys.new_key()
    stack.database.execute(keys.add(key, project_id, "a test's"))
    return key


@pytest.fixture
def ada(guarded: Stack) -> Iterator[httpx.Client]:
    with client(guarded, key_for(guarded, DEFAULT_PROJECT)) as http_client:
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


OPEN = {"/", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json", "/healthz", "/readyz"}
"""Paths that need no key."""


def guarded_routes() -> list[tuple[str, str]]:
    """Method and path of each route that needs a key, with ids of things that do not exist."""
    routes = [
        (method, re.sub(r"{.*?}", "x", route.path or ""))
        for route in iter_route_contexts(create_app(Settings()).routes)
        for method in route.methods or ()
    ]
    return [(method, path) for method, path in routes if path not in OPEN]


@pytest.mark.parametrize("length", ["content-length: 9999999999999", "transfer-encoding: chunked"])
def test_without_a_key_no_route_waits_for_a_body(guarded: Stack, length: str) -> None:
    routes = guarded_routes()
    assert len(routes) > 35

    statuses = {route: status_before_the_body(guarded, *route, length) for route in routes}

    assert {route: status for route, status in statuses.items() if status != 401} == {}


def status_before_the_body(stack: Stack, method: str, path: str, length: str) -> int:
    """The status of a request whose body is announced and never comes."""
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", stack.port), timeout=PATIENCE) as connection:
        connection.sendall(head.encode())
        response = HTTPResponse(connection, method=method)
        response.begin()
        return response.status


def test_another_projects_things_do_not_exist(guarded: Stack, ada: httpx.Client) -> None:
    job = body(ada.post("/v1/jobs", json={"prompt": "x", "size": "64x64"}, headers={"idempotency-key": "same"}))
    image = body(ada.get(f"/v1/jobs/{job['id']}", params={"wait": 60}))["images"][0]
    file = body(ada.post("/v1/files", data={"purpose": "vision"}, files={"file": ("a.png", encode(an_image()))}))
    (project,) = guarded.database.execute(keys.add_project("eve"))

    with client(guarded, key_for(guarded, project)) as eve:
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


def test_the_database_keeps_no_key(guarded: Stack) -> None:
    key = key_for(guarded, DEFAULT_PROJECT)

    rows = guarded.database.execute(keys.list_keys())

    assert key not in str(rows)
    assert key.startswith(rows[-1].prefix)
