"""Training files for tests."""

import base64
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from PIL import Image

from tests.images import encode
from tests.stack import Stack, body

COLOURS = ("red", "gold", "green", "navy")


def an_image(colour: str) -> bytes:
    return encode(Image.new("RGB", (40, 32), colour))


def a_line(colour: str, text: str = "a flag") -> dict[str, str]:
    return {"image": f"data:image/png;base64,{base64.b64encode(an_image(colour)).decode()}", "text": text}


def lines(*objects: Any) -> bytes:
    return "".join(json.dumps(item) + "\n" for item in objects).encode()


def a_zip(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


def upload(stack: Stack, content: bytes, name: str = "training.jsonl") -> str:
    answer = stack.client.post("/v1/files", data={"purpose": "fine-tune"}, files={"file": (name, content)})
    assert answer.status_code == 200, answer.text
    return str(body(answer)["id"])
