"""Forms with files: read no further than a limit, big parts on disk, and errors in our own shape.

A form's text fields can be checked by the same models as a JSON body: `fields_of` nests `metadata[key]=value` and
`webhook[events][]=value`, and a model's validation turns text into numbers (`strict=False`).
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from core.errors import InvalidParameter, InvalidRequest, RequestTooLarge

MAX_FIELDS = 100
FIELD_BYTES = 200_000
"""Most bytes of one text field; more than any prompt may have."""
CHUNK = 1 << 20


@asynccontextmanager
async def form(request: Request, limit: int, max_files: int) -> AsyncIterator[FormData]:
    """The fields of a multipart/form-data body. Its files are gone when the context is left.

    limit: bytes of the body. Raises RequestTooLarge before more than that is read, InvalidRequest for what is no form.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidRequest("The body must be multipart/form-data.", param="body")
    parser = MultiPartParser(
        request.headers,
        _limited(request, limit),
        max_files=max_files,
        max_fields=MAX_FIELDS,
        max_part_size=FIELD_BYTES,
    )
    try:
        found = await parser.parse()
    except MultiPartException as error:
        raise InvalidRequest(f"The form cannot be read: {error.message}", param="body") from None
    try:
        yield found
    finally:
        await found.close()


async def _limited(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    too_large = RequestTooLarge(f"The body is larger than {limit} bytes.", param="body")
    if int(request.headers.get("content-length") or 0) > limit:
        raise too_large
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise too_large
        yield chunk


async def chunks(file: UploadFile) -> AsyncIterator[bytes]:
    """The bytes of an uploaded file, some at a time."""
    await file.seek(0)
    while chunk := await file.read(CHUNK):
        yield chunk


def files_of(found: FormData) -> dict[str, list[UploadFile]]:
    """The files of a form, by field; `image[]` is another way to write `image`."""
    named: dict[str, list[UploadFile]] = {}
    for name, value in found.multi_items():
        if isinstance(value, UploadFile):
            named.setdefault(name.removesuffix("[]"), []).append(value)
    return named


def fields_of(found: FormData) -> dict[str, Any]:
    """The text fields of a form. Raises InvalidParameter.

    `metadata[key]` is the entry `key` of `metadata`, and so on; each `events[]` is one more of the list `events`.
    """
    fields: dict[str, Any] = {}
    for name, value in found.multi_items():
        if not isinstance(value, UploadFile):
            _put(fields, name, value)
    return fields


def _put(fields: dict[str, Any], name: str, value: str) -> None:
    """Enter a field where its name says. Raises InvalidParameter."""
    context = re.fullmatch(r"([^\[\]]+)((?:\[[^\[\]]+\]){0,4})(\[\])?", name)
    if context is None:
        fields[name] = value  # no name that anybody knows; it is refused as it stands
        return
    *above, key = [context[1], *re.findall(r"[^\[\]]+", context[2])]
    target: Any = fields
    for step in above:
        target = target.setdefault(step, {}) if isinstance(target, dict) else None
    if isinstance(target, dict) and context[3] and isinstance(several := target.setdefault(key, []), list):
        several.append(value)
    elif isinstance(target, dict) and not context[3] and key not in target:
        target[key] = value
    else:
        raise InvalidParameter(f"{name} is given twice.", param=name)
