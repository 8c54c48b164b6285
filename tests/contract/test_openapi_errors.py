"""What random requests do not reach: internal errors, and what the document says of keys."""

import asyncio

import httpx

from api.app import create_app
from core.settings import Settings


def test_a_failure_of_our_own_names_the_request_that_is_in_the_log() -> None:
    app = create_app(Settings())

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("as a bug would")

    async def ask() -> httpx.Response:
        inside = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=inside, base_url="http://127.0.0.1") as client:
            return await client.get("/fails", headers={"x-request-id": "mine"})

    answer = asyncio.run(ask())

    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine")
    assert answer.json()["error"]["code"] == "internal_error"


def test_the_document_asks_for_a_key_where_the_server_does() -> None:
    open_to_all, guarded = (create_app(Settings(auth=auth)).openapi() for auth in ("off", "on"))

    assert open_to_all["security"] == [{"key": []}, {}]
    assert guarded["security"] == [{"key": []}]
    without_a_key = {
        path
        for path, operations in guarded["paths"].items()
        for operation in operations.values()
        if operation["security"] == [] or {} in operation["security"]
    }
    by_link = {"/v1/images/{image_id}/content", "/v1/images/{image_id}/receipt"}
    assert without_a_key == {"/healthz", "/readyz"} | by_link
