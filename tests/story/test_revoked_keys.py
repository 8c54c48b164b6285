"""A key that is revoked or expires: within a second it opens nothing, and what it has open ends."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from core import keys
from core.clock import NOW
from core.tables import api_keys
from tests.factories import a_key
from tests.stack import Stack, body, closed_port, free_port
from tests.waiting import PATIENCE, until

WAITING = {"prompt": "x", "size": "64x64", "model": "elsewhere"}
"""A job that no worker runs."""

LARGE = 40_000_000
"""Bytes of a file that no socket buffers whole."""


@pytest.fixture
def stack(guarded: Stack) -> Stack:
    return guarded


def new_client(stack: Stack, port: int | None = None) -> httpx.Client:
    """A client with a key of its own."""
    key = a_key(stack.database)
    url = f"http://127.0.0.1:{port or stack.port}"
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE)


def newest_key(stack: Stack) -> str:
    return stack.database.execute(keys.list_keys())[-1].id


def revoke_newest(stack: Stack) -> None:
    stack.database.execute(keys.revoke(newest_key(stack)))


Calls = dict[str, tuple[str, str, dict[str, Any]]]


def errors_of(stack: Stack, client: httpx.Client, calls: Calls, end_key: Callable[[], object]) -> dict[str, Any]:
    """Status and error code of each call, once the key has ended while all of them were open."""
    jobs = stack.count()
    started = {name: threading.Event() for name in calls}

    def call(name: str) -> tuple[int, str]:
        method, path, arguments = calls[name]
        with client.stream(method, path, **arguments) as response:
            started[name].set()
            return response.status_code, code_of(response.read().decode())

    with ThreadPoolExecutor(len(calls)) as threads:
        futures = {name: threads.submit(call, name) for name in calls}
        for name in STREAMS:
            assert started[name].wait(PATIENCE)
        until(lambda: stack.count() == jobs + 2)  # both synchronous calls have submitted their jobs
        end_key()
        return {name: future.result() for name, future in futures.items()}


def code_of(content: str) -> str:
    """The code of an error, from a body or from the last event of a stream."""
    if not content.startswith("{"):
        event, data = content.rstrip().split("\n")[-2:]
        assert event == "event: error"
        content = data.removeprefix("data: ")
    code: str = json.loads(content)["error"]["code"]
    return code


def calls_that_wait(client: httpx.Client) -> Calls:
    """Calls that last until their key ends."""
    job = body(client.post("/v1/jobs", json=WAITING))["id"]
    batch = body(client.post("/v1/batches", json={"requests": [WAITING]}))["id"]
    return {
        "job": ("GET", f"/v1/jobs/{job}/events", {}),
        "batch": ("GET", f"/v1/batches/{batch}/events", {}),
        "wait": ("GET", f"/v1/jobs/{job}", {"params": {"wait": 60}}),
        "images": ("POST", "/v1/images/generations", {"json": WAITING}),
        "image stream": ("POST", "/v1/images/generations", {"json": WAITING | {"stream": True}}),
    }


STREAMS = ("job", "batch", "image stream")
ENDS = {"wait": (401, "invalid_api_key"), "images": (401, "invalid_api_key")} | dict.fromkeys(
    STREAMS, (200, "invalid_api_key")
)


def test_what_a_revoked_key_has_open_ends(stack: Stack) -> None:
    with new_client(stack) as other, new_client(stack) as guest:
        assert errors_of(stack, guest, calls_that_wait(guest), lambda: revoke_newest(stack)) == ENDS
        assert guest.get("/v1/jobs").status_code == 401
        assert other.get("/v1/jobs").status_code == 200


def test_it_ends_on_another_process_that_has_no_redis(stack: Stack) -> None:
    port, redis_url = free_port(), stack.environment["SAFELIGHT_REDIS_URL"]
    with closed_port() as redis, stack.apart(), new_client(stack, port) as guest:
        stack.environment["SAFELIGHT_REDIS_URL"] = f"redis://127.0.0.1:{redis}"
        stack.api(port)
        stack.environment["SAFELIGHT_REDIS_URL"] = redis_url

        assert errors_of(stack, guest, calls_that_wait(guest), lambda: revoke_newest(stack)) == ENDS
        assert guest.get("/v1/jobs").status_code == 401


def test_what_an_expired_key_has_open_ends(stack: Stack) -> None:
    with new_client(stack) as guest:
        soon = NOW + sa.literal(timedelta(milliseconds=700), sa.Interval)
        expire = sa.update(api_keys).where(api_keys.c.id == newest_key(stack)).values(expires_at=soon)

        assert errors_of(stack, guest, calls_that_wait(guest), lambda: stack.database.execute(expire)) == ENDS
        assert guest.get("/v1/jobs").status_code == 401


def test_a_download_of_a_revoked_key_breaks_off(stack: Stack) -> None:
    with new_client(stack) as guest:
        upload = guest.post("/v1/files", data={"purpose": "user_data"}, files={"file": ("large", bytes(LARGE))})
        with guest.stream("GET", f"/v1/files/{body(upload)['id']}/content") as response:
            revoke_newest(stack)
            until(lambda: guest.get("/v1/jobs").status_code == 401)
            with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
                response.read()
