"""Downloads of a batch: its images as a streamed zip, and a CSV table of the result of each line.

Both read the database page by page and hold one image in memory, whatever the size of the batch. While a batch is in
progress they contain the results so far.
"""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterable, AsyncIterator, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse
from stream_zip import NO_COMPRESSION_64, ZIP_64, AsyncMemberFile, stream_zip

from api.authentication import Project, requires
from api.batches.routes import NO_BATCH, batch_row
from api.context import Context
from api.deps import AppContext
from core.batches import contact_sheet
from core.batches import queries as batch_queries
from core.batches.contact_sheet import SheetEntry
from core.batches.image_names import image_stem
from core.errors import NotFound
from core.rows.batch import ShownBatch
from core.rows.job import BatchJobRow, ImageJson
from core.scopes import Scope

router = APIRouter(prefix="/v1/batches", tags=["batches"])

Item = TypeVar("Item")

PAGE = 200
COLUMNS = (
    "custom_id", "job_id", "status", "prompt", "image_id", "index", "seed", "file", "url", "sha256", "error_code",
    "error_message",
)  # fmt: skip

PAGE_CHARS = 2**16
"""Characters of the contact sheet, or of the table, after which they are sent."""

FILE_MODE = 0o644
_UNSAFE = re.compile(r"[^\w.@+-]+")


@router.get(
    "/{batch_id}/images.zip",
    summary="Download a batch's images",
    response_class=Response,
    responses=NO_BATCH | {200: {"description": "A zip archive, streamed.", "content": {"application/zip": {}}}},
)
@requires(Scope.READ)
async def images(batch_id: str, context: AppContext, project_id: Project) -> Response:
    """Download all images that are ready, with the file names of `manifest.csv`, and `index.html`, which shows them."""
    batch = await batch_row(context, project_id, batch_id)
    return _download(_zip(context, batch), "application/zip", f"{batch_id}.zip")


@router.get(
    "/{batch_id}/manifest.csv",
    summary="Download a batch's manifest",
    response_class=Response,
    responses=NO_BATCH
    | {200: {"description": "A row for each image, and for each line without an image.", "content": {"text/csv": {}}}},
)
@requires(Scope.READ)
async def manifest(batch_id: str, context: AppContext, project_id: Project) -> Response:
    """Download the result of each line as CSV: its images and their file names in the zip, or its error."""
    await batch_row(context, project_id, batch_id)
    return _download(_table(context, batch_id), "text/csv; charset=utf-8", f"{batch_id}.csv")


def _download(chunks: AsyncIterable[bytes], media_type: str, filename: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{filename}"', "x-content-type-options": "nosniff"}
    return StreamingResponse(chunks, media_type=media_type, headers=headers)


async def _zip(context: Context, batch: ShownBatch) -> AsyncIterator[bytes]:
    """The archive in chunks. Each is one call in the threads of downloads, so that projects take turns."""
    loop = asyncio.get_running_loop()
    members = (
        (name, created_at, mode, method, _wait_for(content, loop))
        for name, created_at, mode, method, content in _wait_for(_members(context, batch), loop)
    )
    chunks = iter(stream_zip(members))
    while (chunk := await context.threads.downloads.run(batch.project_id, next, chunks, None)) is not None:
        yield chunk


def _wait_for(items: AsyncIterable[Item], loop: asyncio.AbstractEventLoop) -> Iterator[Item]:
    """The items of an asynchronous iterator, for a thread beside its event loop."""
    iterator = aiter(items)

    async def advance() -> list[Item]:
        """The next item, or nothing at the end."""
        async for item in iterator:
            return [item]
        return []

    while items_ready := asyncio.run_coroutine_threadsafe(advance(), loop).result():
        yield from items_ready


async def _members(context: Context, batch: ShownBatch) -> AsyncIterator[AsyncMemberFile]:
    missing_ids = set[str]()
    async for job in _lines(context, batch.id, only_completed=True):
        for image in job.images or ():
            try:
                content = await context.storage.stream_async(image["storage_key"])
            except NotFound:  # the image has just been deleted
                missing_ids.add(image["id"])
                continue
            created_at = datetime.fromisoformat(image["created_at"]).astimezone(UTC)
            yield file_name(job, image), created_at, FILE_MODE, NO_COMPRESSION_64, content
    yield contact_sheet.NAME, batch.now.astimezone(UTC), FILE_MODE, ZIP_64, _contact_sheet(context, batch, missing_ids)


async def _contact_sheet(context: Context, batch: ShownBatch, missing_ids: Collection[str]) -> AsyncIterator[bytes]:
    """The page that shows the images of the zip, and the lines that have none."""
    lines = f"{batch.total} line{'' if batch.total == 1 else 's'}"
    facts = f"{lines}, {batch.model or 'several models'}, {batch.created_at:%Y-%m-%d %H:%M} UTC"
    text = contact_sheet.page_head(batch.id, facts)
    async for job in _lines(context, batch.id):
        images: Sequence[ImageJson | None] = [*job.images] or [None]
        for image in images:
            is_missing = image is not None and image["id"] in missing_ids
            text += contact_sheet.page_entry(
                SheetEntry(
                    custom_id=job.custom_id,
                    prompt=job.prompt or "",
                    status=job.status,
                    file=None if image is None or is_missing else file_name(job, image),
                    seed=None if image is None else image["seed"],
                    error="The image was deleted." if is_missing else job.error_message,
                )
            )
        if len(text) > PAGE_CHARS:
            yield text.encode(errors="replace")
            text = ""
    yield (text + contact_sheet.page_end()).encode(errors="replace")


async def _table(context: Context, batch_id: str) -> AsyncIterator[bytes]:
    page = io.StringIO("\ufeff")  # without it, Excel does not read UTF-8
    page.seek(0, io.SEEK_END)
    table = csv.writer(page)
    table.writerow(COLUMNS)
    async for job in _lines(context, batch_id):
        images: Sequence[ImageJson | None] = [*job.images] or [None]
        for image in images:
            table.writerow([_escape_formula(cell) for cell in _cells(context, job, image)])
        if page.tell() > PAGE_CHARS:
            yield page.getvalue().encode()
            page.seek(0)
            page.truncate()
    yield page.getvalue().encode()


def _cells(context: Context, job: BatchJobRow, image: ImageJson | None) -> list[object]:
    image_cells: list[object] = [None] * 6
    if image is not None:
        url = context.storage.url(image["id"], image["storage_key"])
        image_cells = [image["id"], image["index"], image["seed"], file_name(job, image), url, image["sha256"]]
    return [job.custom_id, job.id, job.status, job.prompt, *image_cells, job.error_code, job.error_message]


def _escape_formula(cell: object) -> object:
    """Quote a cell that a spreadsheet would run as a formula (OWASP, CSV injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


async def _lines(context: Context, batch_id: str, only_completed: bool = False) -> AsyncIterator[BatchJobRow]:
    after = -1
    while page := await context.database.execute(
        batch_queries.list_lines(batch_id, after=after, limit=PAGE, completed=True if only_completed else None)
    ):
        for job in page:
            yield job
        after = page[-1].batch_index


def file_name(job: BatchJobRow, image: Mapping[str, Any]) -> str:
    """An image's file name in the zip: number, custom id or prompt, and index, as all file systems allow it."""
    extension = image["storage_key"].rpartition(".")[2]  # a PNG where the requested format could not be written
    if (stem := image_stem(job.custom_id, job.prompt)) is not None:
        return f"{stem}-{image['index']}.{extension}"
    name = _UNSAFE.sub("_", job.custom_id)[:80].lstrip(".") or "_"
    return f"{job.batch_index + 1:05d}-{name}-{image['index']}.{extension}"
