"""The images that a request brings, read and checked while its client waits; see `core/requests/inputs.py`."""

import asyncio

from api.context import Context
from core import files
from core.db import Statement
from core.errors import NotFound
from core.requests import inputs
from core.requests.fields import ImageSource
from core.requests.inputs import Inputs
from core.requests.job import JobRequest
from core.rows import FileRow


async def read_inputs(context: Context, project_id: str, request: JobRequest) -> Inputs:
    """Read and check the images of a request. Stores nothing. Raises InvalidParameter."""
    data = {name: await read(context, project_id, name, source) for name, source in inputs.sources(request).items()}
    if not data:
        return Inputs()
    async with context.decoders:
        return await asyncio.to_thread(inputs.assemble, project_id, request, data, context.settings)


async def keep(context: Context, inputs: Inputs) -> Statement[FileRow] | None:
    """Put new images into storage. Returns the statement that enters them into the database, if there are any."""
    for file, data in inputs.new.items():
        await asyncio.to_thread(context.storage.put, file.storage_key, data, "image/png")
    return files.record(*inputs.new) if inputs.new else None


async def read(context: Context, project_id: str, name: str, source: ImageSource) -> bytes:
    """The file of an image, wherever it is. Raises InvalidParameter."""
    if (content := inputs.carried(name, source)) is not None:
        return content
    rows = await context.database.execute(inputs.find_source(project_id, source))
    key = inputs.storage_key(name, source, rows, context.settings)
    try:
        return await context.storage.fetch(key)
    except NotFound:  # the row goes after the object: it is being deleted
        raise inputs.absent(name, source) from None
