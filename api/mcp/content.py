"""The images of a result: a link to each, and the image itself if it is small, else a smaller version.

Clients limit the bytes of a result; the official one takes a megabyte. An agent only needs to see what is in the image.
"""

import base64
import io

from mcp_types import ContentBlock, ImageContent, ResourceLink
from PIL import Image

from api.mcp.tool import Call
from core.errors import NotFound, StorageUnavailable
from core.rows.job import ImageJson, JobRow

MAX_BYTES = 512 * 1024
"""Bytes of all images of a result, before base64."""

MAX_PIXELS = 2**24
"""Pixels of an image of which a smaller version is made: it takes up to 64 MB meanwhile."""

SIDES = (1024, 768, 512, 384, 256, 128)
"""Longest side of a smaller version, in pixels. The first that is small enough is used."""

QUALITY = 80


async def contents_of(call: Call, row: JobRow) -> tuple[ContentBlock, ...]:
    """Links to the images of a completed job, and the images."""
    content: list[ContentBlock] = [_link(call, image) for image in row.images]
    for image in row.images:
        visible = await _visible(call, image, MAX_BYTES // len(row.images))
        if visible is not None:
            content.append(visible)
    return tuple(content)


def _link(call: Call, image: ImageJson) -> ResourceLink:
    return ResourceLink(
        name=image["id"],
        title=f"Image {image['index'] + 1}",
        uri=call.context.storage.url(image["id"], image["storage_key"]),
        description="Opens without an API key until it expires; job_status returns a new link.",
        mime_type=image["media_type"],
        size=image["bytes"],
    )


async def _visible(call: Call, image: ImageJson, max_bytes: int) -> ImageContent | None:
    """An image, or a smaller version; None if it is too large for that, or cannot be read: its link may open later."""
    is_small = image["bytes"] <= max_bytes
    if not is_small and image["width"] * image["height"] > MAX_PIXELS:
        return None
    try:
        content = await call.context.storage.get_async(image["storage_key"])
    except (NotFound, StorageUnavailable):
        return None
    if is_small:
        return _encode(content, image["media_type"])
    smaller = await call.context.threads.previews.run(call.project_id, shrink, content, max_bytes)
    return None if smaller is None else _encode(smaller, "image/jpeg")


def _encode(content: bytes, media_type: str) -> ImageContent:
    return ImageContent(data=base64.b64encode(content).decode(), mime_type=media_type)


def shrink(content: bytes, max_bytes: int) -> bytes | None:
    """A JPEG of a generated image, of max_bytes at most; None if not even the smallest is small enough."""
    with Image.open(io.BytesIO(content)) as image:
        opaque = Image.new("RGB", image.size, "white")
        opaque.paste(image, mask=image.getchannel("A") if "A" in image.getbands() else None)
    for side in SIDES:
        opaque.thumbnail((side, side))
        file = io.BytesIO()
        opaque.save(file, "JPEG", quality=QUALITY)
        if file.tell() <= max_bytes:
            return file.getvalue()
    return None
