"""The JSON of files."""

from typing import Literal

from pydantic import BaseModel, Field

from core.responses.job import seconds
from core.rows.file import FileRow


class FileObject(BaseModel):
    """A file of a project, in OpenAI's format."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    expires_at: int | None = Field(description="Time at which the file is deleted. Null: never.")
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    status_details: str | None = None


class FileList(BaseModel):
    """A page of files. Get the next page with `after=<last_id>`."""

    object: Literal["list"] = "list"
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


def file_object(row: FileRow) -> FileObject:
    """The JSON of a file."""
    return FileObject(
        id=row.id,
        bytes=row.bytes,
        created_at=int(row.created_at.timestamp()),
        expires_at=seconds(row.expires_at),
        filename=row.filename,
        purpose=row.purpose,
    )
