"""The requests of image clients, as data: each gets an image of its size, in the form that the client reads."""

import base64
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.images import a_mask, an_image, decode, encode
from tests.stack import Stack, body

REQUESTS: list[dict[str, Any]] = tomllib.loads((Path(__file__).parent / "requests.toml").read_text())["request"]


def send(client: httpx.Client, request: dict[str, Any]) -> httpx.Response:
    """Send a request of the table."""
    headers = {"Authorization": "Bearer anything", **request.get("headers", {})}
    if "json" in request:
        return client.post(request["path"], json=request["json"], headers=headers)
    parts = [(name, ("upload", encode(a_mask() if name == "mask" else an_image()))) for name in request["files"]]
    return client.post(request["path"], data=request["form"], files=parts, headers=headers)


def pixels_of(client: httpx.Client, image: dict[str, str]) -> bytes:
    """The image file, as a client gets it from its answer."""
    if "url" in image:
        return client.get(image["url"]).content
    return base64.b64decode(image.get("b64_json") or image["result"])


def images_of(answer: dict[str, Any]) -> list[dict[str, str]]:
    """The images of an answer: those of the images calls in `data`, that of a response in `output`."""
    images: list[dict[str, str]] = answer["data"] if "data" in answer else answer["output"]
    return images


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: f"{request['client']}: {request['call']}")
def test_a_client_gets_an_image_that_it_can_read(safelight: Stack, request_: dict[str, Any]) -> None:
    answer = send(safelight.client, request_)

    assert answer.status_code == 200, answer.text
    image = images_of(body(answer))[0]
    assert image.keys() & {"url", "b64_json", "result"} == {*request_["keys"]}
    assert list(decode(pixels_of(safelight.client, image)).size) == request_["size"]
    warnings = body(answer).get("warnings", [])
    assert {warning["param"] for warning in warnings} == {*request_["warnings"]}
    assert all(name in answer.headers["x-safelight-warnings"] for name in request_["warnings"][:1])
