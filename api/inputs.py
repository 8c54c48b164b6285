"""Reads and checks the input images of a request before the response; see `core/requests/inputs.py`."""

from collections.abc import Collection, Mapping

from api.context import Context
from core import files
from core.db import Statement
from core.errors import NotFound
from core.images.normalize import Normalized
from core.parameters.image_source import ImageSource
from core.requests import inputs
from core.requests.inputs import Inputs
from core.requests.job import JobRequest
from core.rows.file import FileRow


async def read_inputs(context: Context, project_id: str, request: JobRequest) -> Inputs:
    """Read and check the images of a request. Stores nothing. Raises InvalidParameter."""
    sources = inputs.sources(request)
    if not sources:
        return Inputs()
    normalized = await normalize(context, project_id, sources, inputs.new_names(request))
    return inputs.assemble(project_id, request, normalized, context.settings)


async def normalize(
    context: Context, project_id: str, sources: Mapping[str, ImageSource], new: Collection[str]
) -> Normalized:
    """Read and check images, by field. new: those that are no files yet. Raises InvalidParameter."""
    data = {name: await read_image(context, project_id, name, source) for name, source in sources.items()}
    return await context.decoders.normalize(project_id, data, new)


async def store_inputs(context: Context, inputs: Inputs) -> Statement[FileRow] | None:
    """Write new images to storage. Returns the statement that inserts their rows, or None without new images."""
    for file, data in inputs.new.items():
        await context.threads.storage.run(file.project_id, context.storage.put, file.storage_key, data, "image/png")
    return files.record(*inputs.new) if inputs.new else None


async def read_image(context: Context, project_id: str, name: str, source: ImageSource) -> bytes:
    """The bytes of an image, from the request or from storage. Raises InvalidParameter."""
    if (content := inputs.inline_bytes(name, source)) is not None:
        return content
    rows = await context.database.execute(inputs.find_source(project_id, source))
    key = inputs.storage_key(name, source, rows, context.settings)
    try:
        return await context.storage.get_async(key)
    except NotFound:  # the file is being deleted: its row goes after the object
        raise inputs.not_found_error(name, source) from None
