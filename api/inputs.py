"""The pictures that a request brings, read and checked while its client waits; see `core/requests/inputs.py`."""

import asyncio

from api.context import Context
from core import files
from core.db import Statement
from core.errors import NotFound
from core.requests import inputs
from core.requests.fields import PictureSource
from core.requests.inputs import Inputs
from core.requests.job import JobRequest


async def bring(parts: Context, project_id: str, request: JobRequest) -> Inputs:
    """Read and check the pictures of a request. Stores nothing. Raises InvalidParameter."""
    data = {name: await read(parts, project_id, name, source) for name, source in inputs.sources(request).items()}
    if not data:
        return Inputs()
    async with parts.decoders:
        return await asyncio.to_thread(inputs.assemble, project_id, request, data, parts.settings)


async def keep(parts: Context, brought: Inputs) -> Statement | None:
    """Put new pictures into storage. Returns the statement that enters them into the ledger, if there are any."""
    for file, data in brought.new.items():
        await asyncio.to_thread(parts.storage.put, file.storage_key, data, "image/png")
    return files.record(*brought.new) if brought.new else None


async def read(parts: Context, project_id: str, name: str, source: PictureSource) -> bytes:
    """The file of a picture, wherever it is. Raises InvalidParameter."""
    if (content := inputs.carried(name, source)) is not None:
        return content
    rows = await parts.database.execute(inputs.row_of(project_id, source))
    key = inputs.storage_key(name, source, rows, parts.settings)
    try:
        return await parts.storage.fetch(key)
    except NotFound:  # the row goes after the object: it is being deleted
        raise inputs.absent(name, source) from None
