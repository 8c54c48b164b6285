"""The pictures that a request brings: read and checked while the client waits, kept as files once the job is sure.

A picture may be a file, a picture of an earlier job, or bytes in the request. The latter two become files of the
project that live as long as the job may need them, so that the job's worker reads files and nothing else.
"""

import asyncio
import base64
import binascii
from dataclasses import dataclass, field
from datetime import timedelta

from PIL import Image

from api.context import Context
from core import files, pictures, views
from core.db import Statement
from core.errors import InvalidParameter, NotFound
from core.files import NewFile
from core.requests import JobRequest, PictureSource
from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a request's pictures are as files; those in `new` are not stored yet."""

    ids: dict[str, str] = field(default_factory=dict)
    new: dict[NewFile, bytes] = field(default_factory=dict)


async def bring(parts: Context, project_id: str, request: JobRequest) -> Inputs:
    """Read and check the pictures of a request. Stores nothing. Raises InvalidParameter."""
    brought = Inputs()
    image = await _bring(parts, project_id, request, "image", brought)
    if image is None:
        return brought
    mask = await _bring(parts, project_id, request, "mask", brought)
    if mask is not None:
        _check_mask(mask, image)
    elif request.operation == "edit" and pictures.is_transparent(image):
        brought.ids["mask"] = brought.ids["image"]
    return brought


async def keep(parts: Context, brought: Inputs) -> Statement | None:
    """Put new pictures into storage. Returns the statement that enters them into the ledger, if there are any."""
    for file, data in brought.new.items():
        await asyncio.to_thread(parts.storage.put, file.storage_key, data, "image/png")
    return files.record(*brought.new) if brought.new else None


async def _bring(
    parts: Context, project_id: str, request: JobRequest, name: str, brought: Inputs
) -> Image.Image | None:
    source: PictureSource | None = getattr(request, name)
    if source is None:
        return None
    data = await _bytes(parts, project_id, name, source)
    async with parts.decoders:
        picture, normal = await asyncio.to_thread(_decode, data, parts.settings, name, source.file_id is None)
    if source.file_id is not None:
        brought.ids[name] = source.file_id
        return picture
    file = NewFile(
        files.new_file_id(), project_id, "vision", f"{name}.png", len(normal), ttl=_lifetime(request, parts.settings)
    )
    brought.ids[name] = file.id
    brought.new[file] = normal
    return picture


def _decode(data: bytes, settings: Settings, name: str, is_new: bool) -> tuple[Image.Image, bytes]:
    """The picture, and where it is to be kept its bytes with nothing in them but pixels."""
    picture = pictures.read(data, settings, name)
    return picture, pictures.png(picture) if is_new else b""


def _lifetime(request: JobRequest, settings: Settings) -> timedelta:
    """As long as the job may wait, and as long again as it is kept then: it may be retried."""
    wait = settings.job_ttl if request.expires_after is None else timedelta(seconds=request.expires_after)
    return wait + settings.retention


async def _bytes(parts: Context, project_id: str, name: str, source: PictureSource) -> bytes:
    if source.content is not None:
        return source.content
    if source.file_id is not None:
        rows = await parts.database.execute(files.file(project_id, source.file_id))
        param, what = f"{name}.file_id", f"file {source.file_id!r}"
        if rows and rows[0].bytes > parts.settings.max_picture_bytes:
            raise InvalidParameter(
                f"{param}: the file has {rows[0].bytes} bytes; "
                f"a picture may have at most {parts.settings.max_picture_bytes}.",
                param=param,
            )
    elif source.image_id is not None:
        rows = await parts.database.execute(views.image(project_id, source.image_id))
        param, what = f"{name}.image_id", f"image {source.image_id!r}"
    else:
        return _from_url(f"{name}.image_url", source.image_url or "")
    try:
        if rows:
            return await parts.storage.fetch(rows[0].storage_key)
    except NotFound:  # the row goes after the object: it is being deleted
        pass
    raise InvalidParameter(f"There is no {what}.", param=param)


def _from_url(param: str, url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not head.startswith("data:") or not comma or not head.endswith(";base64"):
        raise InvalidParameter(
            f"{param} must be a data URL, data:image/png;base64,...; other URLs are not fetched. "
            "Upload the picture with POST /v1/files and name it by file_id, or name one of yours by image_id.",
            param=param,
        )
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise InvalidParameter(f"{param} is not valid base 64.", param=param) from None


def _check_mask(mask: Image.Image, image: Image.Image) -> None:
    if mask.size != image.size:
        sizes = [f"{picture.width}x{picture.height}" for picture in (mask, image)]
        raise InvalidParameter(f"mask is {sizes[0]} but image is {sizes[1]}; they must be of one size.", param="mask")
    if pictures.mask_of(mask).getextrema() == (0, 0):
        raise InvalidParameter("mask is neither transparent nor white anywhere: nothing would be drawn.", param="mask")
