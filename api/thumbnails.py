"""Smaller versions of images, as `width` of `GET /v1/images/{id}/content`: made when they are first requested.

They are small and never change, so browsers keep them for ever, and each process keeps those that were used last.
"""

import io
from collections import OrderedDict
from typing import Annotated, Literal

from PIL import Image
from pydantic import BeforeValidator

from api.context import Context
from core.rows.job import ImageRow

Width = Annotated[Literal[256, 512], BeforeValidator(int)]

MEDIA_TYPE = "image/webp"
QUALITY = 80
MAX_CACHED_BYTES = 32 * 2**20
MAX_PIXELS = 2**26
"""Pixels of an image of which a smaller version is made; larger ones are served as they are."""

_cache: OrderedDict[tuple[str, int], bytes] = OrderedDict()
_cached_bytes = 0


async def thumbnail(context: Context, image: ImageRow, width: Width) -> bytes | None:
    """A WebP of an image that is at most `width` pixels wide; None if the image itself is to be served.

    Raises NotFound, StorageUnavailable.
    """
    if image.width <= width or image.width * image.height > MAX_PIXELS:
        return None
    key = (image.sha256, width)
    content = _cache.get(key)
    if content is None:
        original = await context.storage.get_async(image.storage_key)
        content = await context.threads.thumbnails.run(image.project_id, shrink, original, width)
        _store(key, content)
    else:
        _cache.move_to_end(key)
    return content


def shrink(content: bytes, width: int) -> bytes:
    """A smaller version of an image that we generated."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (width, width))
        mode = "RGBA" if "A" in image.getbands() else "RGB"
        smaller = image.convert(mode)
    height = max(1, round(smaller.height * width / smaller.width))
    smaller = smaller.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
    file = io.BytesIO()
    smaller.save(file, "WEBP", quality=QUALITY, method=2)
    return file.getvalue()


def _store(key: tuple[str, int], content: bytes) -> None:
    global _cached_bytes
    if key in _cache:
        return
    _cache[key] = content
    _cached_bytes += len(content)
    while _cached_bytes > MAX_CACHED_BYTES:
        _cached_bytes -= len(_cache.popitem(last=False)[1])
