"""The requests of AUTOMATIC1111's clients, as data: each gets images of its size, and is told what is not honoured."""

import base64
import json
from typing import Any

import pytest

from tests.clients import webui
from tests.images import a_mask, an_image, decode, encode
from tests.stack import Stack, body


@pytest.mark.parametrize(
    "request_", webui.TABLE["request"], ids=lambda request: f"{request['client']}: {request['call']}"
)
def test_a_client_of_the_webui_gets_images_that_it_can_read(safelight: Stack, request_: dict[str, Any]) -> None:
    content = dict(request_["json"])
    for name in request_.get("image_fields", ()):
        image = base64.b64encode(encode(a_mask() if name == "mask" else an_image())).decode()
        content[name] = [f"data:image/png;base64,{image}"] if name == "init_images" else image

    answer = safelight.client.post(request_["path"], json=content, headers=request_.get("headers", {}))

    assert answer.status_code == 200, answer.text
    result = body(answer)
    info = json.loads(result["info"])
    assert len(result["images"]) == int(content.get("batch_size", 1)) == len(info["all_seeds"])
    assert list(decode(base64.b64decode(result["images"][0])).size) == request_["size"]
    assert len(info["warnings"]) == len(request_["warnings"])
    assert all(text.startswith(start) for text, start in zip(info["warnings"], request_["warnings"], strict=True))
    assert result["parameters"].keys() >= content.keys() - {"url", "auth"}
    assert "sl_secret" not in answer.text
