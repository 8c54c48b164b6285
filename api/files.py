"""`/v1/files`: OpenAI's Files API, for input images of jobs (`vision`), files of batches and other files.

The bytes of an upload go to storage in chunks, from the form's temporary file. The row is inserted after all bytes.
"""

import re
from contextlib import suppress
from datetime import timedelta
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from typing import Annotated, Any, Literal
from urllib.parse import quote

from annotated_types import Ge, Le
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from api.audit import event_of
from api.authentication import CurrentCaller, Project, requires
from api.context import Context
from api.deps import AppContext
from api.edge.multipart import chunks, fields_of, files_of, form
from api.pagination import AfterFile, check_after
from api.responses import ERROR, answer
from core import audit, files
from core.audit import AuditType
from core.errors import InvalidParameter, MissingParameter, NotFound, UnknownParameter
from core.files import NewFile
from core.limits import Amount
from core.requests.job import validate
from core.responses.file import FileList, FileObject, file_object
from core.responses.job import Deleted
from core.rows.file import FileRow
from core.scopes import Scope
from core.settings import Settings

router = APIRouter(prefix="/v1/files", tags=["files"])

NO_FILE: dict[int | str, dict[str, Any]] = {404: ERROR | {"description": "Your project has no such file."}}
FORM_BYTES = 100_000
"""Bytes of a form beside its file: other fields and boundaries."""

_ENCODED_WORD = re.compile(r"=\?[\w-]+\?[bBqQ]\?[^?]*\?=")
"""How .NET writes the name of a file that is not ASCII (RFC 2047)."""

# A client can upload any content, so a browser must not render it.
SAFE_HEADERS = {"x-content-type-options": "nosniff", "content-security-policy": "sandbox; default-src 'none'"}


class ExpiresAfter(BaseModel):
    """When a file expires."""

    model_config = ConfigDict(extra="forbid")

    anchor: Literal["created_at"]
    seconds: Annotated[int, Ge(3600), Le(2_592_000)] = Field(description="From 3600 (an hour) to 2592000 (30 days).")


class FileRequest(BaseModel):
    """The fields of an upload beside the file."""

    model_config = ConfigDict(extra="forbid")

    purpose: Literal["vision", "batch", "user_data", "fine-tune"] = Field(
        description="`vision`: an image for edits and variations. `batch`: a request per line. `fine-tune`: images and "
        "their captions. `user_data`: any file."
    )
    expires_after: ExpiresAfter | None = Field(
        None, description="Default: 30 days for `batch`, never for other purposes."
    )


MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "additionalProperties": False,
                    "dependentRequired": {
                        "expires_after[anchor]": ["expires_after[seconds]"],
                        "expires_after[seconds]": ["expires_after[anchor]"],
                    },
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "The file, with a filename."},
                        "purpose": FileRequest.model_json_schema()["properties"]["purpose"],
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
                    },
                }
            }
        },
    }
}


@router.post(
    "",
    summary="Upload a file",
    response_model=FileObject,
    responses={413: ERROR | {"description": "The file is larger than SAFELIGHT_MAX_FILE_BYTES."}},
    openapi_extra=MULTIPART,
)
@requires(Scope.SUBMIT)
async def create(request: Request, context: AppContext, caller: CurrentCaller) -> Response:
    """Upload a file as multipart/form-data."""
    limit = context.settings.max_file_bytes
    async with form(request, context.uploads, limit + FORM_BYTES, max_files=1) as data:
        fields = fields_of(data)
        if "file" in fields:
            raise InvalidParameter(
                "file must be a file: a part of the form with `filename` (`filename*` alone is not valid in forms).",
                param="file",
            )
        body = validate(FileRequest, fields)
        uploads = files_of(data)
        if unknown := uploads.keys() - {"file"}:
            raise UnknownParameter(
                f"{min(unknown)} is not a parameter of this call; the file is `file`.", param=min(unknown)
            )
        if "file" not in uploads:
            raise MissingParameter("file is required: a part of the form with a filename.", param="file")
        (upload,) = uploads["file"]
        if not upload.size:
            raise InvalidParameter("file is empty.", param="file")
        file = NewFile(
            files.new_file_id(),
            caller.project_id,
            body.purpose,
            _filename(upload.filename or "upload"),
            upload.size,
            ttl=_ttl(body, context.settings),
        )
        await context.storage.put_chunks(file.storage_key, chunks(upload))
    async with context.database.transaction() as transaction:
        await context.limits.reserve(transaction, file.project_id, caller.key_id, Amount(stored_bytes=file.bytes))
        (row,) = await transaction.execute(files.record(file))
    return answer(file_object(row))


def _filename(name: str) -> str:
    if _ENCODED_WORD.fullmatch(name):
        with suppress(ValueError, LookupError, HeaderParseError):
            name = str(make_header(decode_header(name)))
    if not name.isprintable() or len(name) > 255:
        raise InvalidParameter("file: the filename must have 1 to 255 printable characters.", param="file")
    return name


def _ttl(body: FileRequest, settings: Settings) -> timedelta | None:
    if body.expires_after is not None:
        return timedelta(seconds=body.expires_after.seconds)
    return settings.batch_file_ttl if body.purpose == "batch" else None


LIST_PARAMETERS = frozenset({"purpose", "after", "limit", "order"})


@router.get("", summary="List files", response_model=FileList)
@requires(Scope.READ)
async def index(
    request: Request,
    context: AppContext,
    project_id: Project,
    purpose: Annotated[str | None, Query(description="Only files with this purpose.")] = None,
    after: AfterFile = None,
    limit: Annotated[int, Ge(1), Le(10_000), Query()] = 10_000,
    order: Annotated[Literal["asc", "desc"], Query(description="Order by creation time.")] = "desc",
) -> Response:
    """List files, newest first."""
    if unknown := request.query_params.keys() - LIST_PARAMETERS:
        names = ", ".join(sorted(LIST_PARAMETERS))
        raise UnknownParameter(f"{min(unknown)} is not a parameter here. Known are: {names}.", param=min(unknown))
    await check_after(context, project_id, "file", after)
    rows = await context.database.execute(
        files.list_files(project_id, limit=limit + 1, descending=order == "desc", after=after, purpose=purpose)
    )
    page = [file_object(row) for row in rows[:limit]]
    return answer(
        FileList(
            data=page,
            first_id=page[0].id if page else None,
            last_id=page[-1].id if page else None,
            has_more=len(rows) > limit,
        )
    )


@router.get("/{file_id}", summary="Get a file's metadata", response_model=FileObject, responses=NO_FILE)
@requires(Scope.READ)
async def fetch(file_id: str, context: AppContext, project_id: Project) -> Response:
    """Get the metadata of a file."""
    return answer(file_object(await _row(context, project_id, file_id)))


@router.get(
    "/{file_id}/content",
    summary="Download a file",
    response_class=Response,
    responses=NO_FILE | {200: {"description": "The file.", "content": {"application/octet-stream": {}}}},
)
@requires(Scope.READ)
async def content(file_id: str, context: AppContext, project_id: Project) -> Response:
    """Download the bytes of a file, exactly as they were uploaded."""
    row = await _row(context, project_id, file_id)
    headers = SAFE_HEADERS | {
        "content-length": str(row.bytes),
        "content-disposition": f"attachment; filename*=utf-8''{quote(row.filename, safe='')}",
    }
    content_chunks = await context.storage.stream_async(row.storage_key)
    return StreamingResponse(content_chunks, media_type="application/octet-stream", headers=headers)


@router.delete("/{file_id}", summary="Delete a file", response_model=Deleted, responses=NO_FILE)
@requires(Scope.SUBMIT)
async def delete(file_id: str, context: AppContext, caller: CurrentCaller) -> Response:
    """Delete a file. A queued job that needs it will fail with `input_unavailable`."""
    project_id = caller.project_id
    row = await _row(context, project_id, file_id)
    await context.storage.delete_async(row.storage_key)
    event = event_of(caller, AuditType.FILE_DELETED)
    await context.database.execute(audit.with_audit_event(files.delete(project_id, file_id), event))
    return answer(Deleted(id=file_id, object="file"))


async def _row(context: Context, project_id: str, file_id: str) -> FileRow:
    rows = await context.database.execute(files.get_file(project_id, file_id))
    if not rows:
        raise NotFound(f"There is no file {quote(file_id)}.", param="id")
    return rows[0]
