"""The direct routes answer as FastAPI's ordinary routes do, which stand behind them."""

import re
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from api.app import create_app
from api.direct_routes import PATHS
from tests.stack import Stack

JOB = {"prompt": "a cat", "model": "elsewhere", "seed": 7}
JSON = {"content-type": "application/json"}
UNKNOWN = "job_01kc3m9w8yq6k0v2t5x7z1b4dn"
POSTS: list[dict[str, Any]] = [
    {"json": JOB},
    {"json": JOB, "headers": {"idempotency-key": "direct"}},
    {"json": JOB, "headers": {"idempotency-key": "direct"}},
    {"json": JOB | {"seed": 8}, "headers": {"idempotency-key": "direct"}},
    {"json": JOB, "headers": {"idempotency-key": "é".encode("latin-1")}},
    {"json": JOB | {"dry_run": True}},
    {"json": JOB | {"steps": 0}},
    {"json": JOB | {"model": "none"}},
    {"content": b"{", "headers": JSON},
    {"content": b"", "headers": JSON},
    {"content": b"{}", "headers": {"content-type": "text/plain"}},
    {"content": b"{}", "headers": JSON | {"content-encoding": "br"}},
    {"json": JOB, "params": {"x": "a\0b"}},
    {"json": JOB, "params": {"x": "a" * 20_000}},
]
GETS: list[tuple[str, dict[str, Any]]] = [
    (path, options)
    for path in (f"/v1/jobs/{UNKNOWN}", "/v1/jobs/{id}", "/v1/jobs/{id}/", "/v1/jobs/job_x")
    for options in (
        {},
        {"params": {"wait": "99"}},
        {"params": {"wait": "soon"}},
        {"params": {"wait": ["0.01", "0"]}},
        {"headers": {"if-none-match": "*"}},
        {"params": {"x": "a\0b"}},
    )
]


@pytest.fixture
def app(safelight: Stack) -> FastAPI:
    return create_app(safelight.settings)


def test_direct_and_ordinary_routes_give_the_same_answers(safelight: Stack, app: FastAPI) -> None:
    ordinary = create_app(safelight.settings)
    assert len(ordinary.state.direct_routes.routes) == len(PATHS)
    ordinary.state.direct_routes.routes.clear()

    assert answers(app, "direct") == answers(ordinary, "ordinary")


def test_an_unexpected_error_is_answered_alike(app: FastAPI) -> None:
    with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 1), raise_server_exceptions=False) as client:
        context, app.state.context = app.state.context, None
        responses = [client.get(f"/v1/jobs/{UNKNOWN}", headers={"x-request-id": "mine"})]
        app.state.direct_routes.routes.clear()
        responses += [client.get(f"/v1/jobs/{UNKNOWN}", headers={"x-request-id": "mine"})]
        app.state.context = context
    direct, ordinary = responses

    assert direct.json()["error"]["code"] == "internal_error"
    assert (direct.status_code, direct.text, direct.headers) == (500, ordinary.text, ordinary.headers)
    assert direct.headers["x-request-id"] == "mine"


def answers(app: FastAPI, name: str) -> list[Any]:
    """Status, headers and body of each request, without what differs between two equal requests."""
    with TestClient(app, "http://127.0.0.1", client=("127.0.0.1", 1)) as client:
        job_id = client.post("/v1/jobs", json=JOB).json()["id"]
        responses = [client.post("/v1/jobs", **named(options, name)) for options in POSTS]
        responses += [client.get(path.format(id=job_id), **options) for path, options in GETS]
        responses += [
            client.post(path, content=b"{", headers=JSON) for path in ("/v1/images/generations", "/generate-image")
        ]
        responses += [client.put("/v1/jobs"), client.patch(f"/v1/jobs/{job_id}"), client.head(f"/v1/jobs/{job_id}")]
    return [
        (
            response.status_code,
            {
                key: plain(value)
                for key, value in response.headers.items()
                if key not in ("content-length", "retry-after")
            },
            plain(response.text),
        )
        for response in responses
    ]


def named(options: dict[str, Any], name: str) -> dict[str, Any]:
    """A request with an idempotency key of its own for each application."""
    headers = options.get("headers", {})
    if headers.get("idempotency-key") != "direct":
        return options
    return options | {"headers": headers | {"idempotency-key": f"direct-routes-{name}"}}


def plain(text: str) -> str:
    """A text without ids, times and places in a queue."""
    text = re.sub(r"(job|req)_[0-9a-z]{26}", r"\1", text)
    numbers = "created_at|expires_at|queue_position|device_seconds|estimated_finish_at"
    return re.sub(rf'("({numbers})": ?)[0-9.]+|"\d+-[^"]*"', r"\1", text)
