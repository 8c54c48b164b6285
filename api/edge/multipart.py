"""Multipart forms: read up to a limit, with large files on disk and errors in the API's format.

The models of JSON bodies also validate forms: `fields_of` nests `metadata[key]=value` and `webhook[events][]=value`,
and lax validation (`strict=False`) converts text to numbers.
"""

import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from api.edge import content_type
from api.uploads import Reservation, Uploads
from core.errors import InvalidParameter, InvalidRequest, RequestTooLarge, UploadsFull

log = logging.getLogger(__name__)

MAX_FIELDS = 100
FIELD_BYTES = 200_000
"""Maximum bytes of a text field; more than any prompt may have."""
CHUNK = 1 << 20
BLOCK = 1 << 19
"""Bytes that are parsed and written at a time."""


@asynccontextmanager
async def form(request: Request, uploads: Uploads, limit: int, max_files: int) -> AsyncIterator[FormData]:
    """The fields of a multipart/form-data body. Its files are deleted at the end of the context.

    limit: maximum bytes of the body; nothing beyond it is read. Raises UnsupportedMediaType, RequestTooLarge,
    TooManyUploads, UploadsFull, InvalidRequest.
    """
    content_type.check(request.headers.get("content-type") or "none", content_type.MULTIPART)
    with uploads.begin(request.scope["caller"].project_id) as reservation:
        content = uploads.in_turn(_blocks(_read_up_to(request, limit, reservation)))
        parser = MultiPartParser(
            request.headers,
            content,
            max_files=max_files,
            max_fields=MAX_FIELDS,
            max_part_size=FIELD_BYTES,
        )
        try:
            async with aclosing(content):
                data = await parser.parse()
        except MultiPartException as error:
            raise InvalidRequest(f"The form cannot be read: {error.message}", param="body") from None
        except OSError as error:
            log.error("an upload cannot be written: %s", error.strerror)
            raise UploadsFull from None
        try:
            yield data
        finally:
            await data.close()


async def _read_up_to(request: Request, limit: int, reservation: Reservation) -> AsyncGenerator[bytes, None]:
    too_large = RequestTooLarge(f"The body is larger than {limit} bytes.", param="body")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    async for chunk in request.stream():
        reservation.add(len(chunk))
        if reservation.size > limit:
            raise too_large
        yield chunk


async def _blocks(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The same bytes in fewer parts: the parser writes each part to the file in a thread, which costs more than it."""
    parts, size = list[bytes](), 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size >= BLOCK:
            yield b"".join(parts)
            parts, size = [], 0
    if size:
        yield b"".join(parts)


async def chunks(file: UploadFile) -> AsyncIterator[bytes]:
    """The bytes of an uploaded file in chunks."""
    await file.seek(0)
    while chunk := await file.read(CHUNK):
        yield chunk


def files_of(data: FormData) -> dict[str, list[UploadFile]]:
    """The files of a form by field; `image[]` is the same field as `image`."""
    files: dict[str, list[UploadFile]] = {}
    for name, value in data.multi_items():
        if isinstance(value, UploadFile):
            files.setdefault(name.removesuffix("[]"), []).append(value)
    return files


def fields_of(data: FormData) -> dict[str, Any]:
    """The text fields of a form. Raises InvalidParameter.

    `metadata[key]` is the entry `key` of `metadata`; each `events[]` is one more item of the list `events`.
    """
    fields: dict[str, Any] = {}
    for name, value in data.multi_items():
        if not isinstance(value, UploadFile):
            _set_field(fields, name, value)
    return fields


def _set_field(fields: dict[str, Any], name: str, value: str) -> None:
    """Set a field at the path in its name. Raises InvalidParameter."""
    path = re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]+\]){0,4})(\[\])?", name)
    if path is None:
        fields[name] = value  # not a valid path; validation rejects it as an unknown field
        return
    *parents, key = [path[1], *re.findall(r"[^\[\]]+", path[2])]
    target: Any = fields
    for step in parents:
        target = target.setdefault(step, {}) if isinstance(target, dict) else None
    if isinstance(target, dict) and path[3] and isinstance(items := target.setdefault(key, []), list):
        items.append(value)
    elif isinstance(target, dict) and not path[3] and key not in target:
        target[key] = value
    else:
        raise InvalidParameter(f"{name} is given twice.", param=name)
