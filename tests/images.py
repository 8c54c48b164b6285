"""Images that tests send and get."""

import base64
import io
from typing import Any

from PIL import Image, ImageChops, ImageDraw

from tests.stack import Stack, body

HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9jAA"
    "AAAERAAAIAAQAAAAAB7AABAAAAAAAAAGMAAgAAAAACTwABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVp"
    "bmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGE"
    "ABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkA"
    "AAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEH"
    "BpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAI9tZGF0AAAA"
    "XygBrwngIzhG8ejc3/8/LaHejbxVd+U3v/tR0u85M/92plPlPXfca//+0yU8fjyv//UkwF1jia09f2d4LyRDZ4Tyaua9ndPDYl2NVyl6ozmoTC"
    "lHs6RpBKapUjQgXcAYAAAABkV4aWYAAE1NACoAAAAIAAEBEgADAAAAAQAGAAAAAAAA"
)
"""A photo of 64x48 pixels that is to be turned to the right: gold in its upper left quarter, otherwise teal."""


def an_image(size: tuple[int, int] = (64, 64), colour: str = "teal") -> Image.Image:
    """A disc on a ground, so that no two sides are alike."""
    image = Image.new("RGB", size, colour)
    ImageDraw.Draw(image).ellipse((size[0] // 4, 2, size[0] // 2, size[1] // 2), fill="gold")
    return image


def a_mask(size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Opaque, but for its right half."""
    mask = Image.new("RGBA", size, "black")
    mask.paste((0, 0, 0, 0), (size[0] // 2, 0, *size))
    return mask


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def data_url(image: Image.Image) -> dict[str, str]:
    """An image as a job's `image` or `mask`."""
    return {"image_url": "data:image/png;base64," + base64.b64encode(encode(image)).decode()}


def upload(stack: Stack, data: bytes, name: str = "a.png", **fields: str) -> dict[str, Any]:
    """Upload a file and return it."""
    answer = stack.client.post("/v1/files", data={"purpose": "vision", **fields}, files={"file": (name, data)})
    assert answer.status_code == 200, answer.text
    return body(answer)


def same(image: Image.Image, other_image: Image.Image, box: tuple[int, int, int, int]) -> bool:
    """Whether two images have the same pixels in a box (left, upper, right, lower)."""
    return ImageChops.difference(image.crop(box), other_image.crop(box)).getbbox() is None
