"""`stream: true` of OpenAI's images calls: a job's previews, then its image, as the server-sent events the SDKs read.

What goes wrong after the stream has begun is its last event, `error`, which the SDKs raise; before that it is an answer
like any other. A comment every fifteen seconds keeps silent streams alive.
"""

import base64
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field

from api.context import Context
from api.errors import body_of
from api.jobs.waiting import follow, job_row
from api.openai.responses import failure, usage_of
from api.openapi import REFERENCES, event_stream, message
from core.db import UNAVAILABLE
from core.errors import DatabaseUnavailable, SafelightError, first_line
from core.parameters import Operation
from core.responses.job import seconds
from core.responses.openai import Usage, dimensions, quality
from core.rows import JobEventRow, JobRow
from core.status import JobStatus

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 15.0
"""After so long without an event a comment follows, whatever the job does meanwhile; proxies cut silent streams."""

NAMES: Mapping[Operation, str] = {"generation": "image_generation", "edit": "image_edit"}
"""How OpenAI's events of an operation begin."""


class PartialImageEvent(BaseModel):
    """A look at the unfinished image."""

    type: Literal["image_generation.partial_image", "image_edit.partial_image"]
    partial_image_index: int
    b64_json: str = Field(description="At most 256 px a side.")
    output_format: str = Field(description="Of the preview: webp.")
    size: str = Field(description="Of the finished image.")
    quality: str = Field(description="As it was asked for.")
    background: Literal["opaque"] = "opaque"
    created_at: int
    job_id: str


class CompletedEvent(BaseModel):
    """The image; the last event."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    b64_json: str
    output_format: str
    size: str
    quality: str = Field(description="As the provider says; `auto` where images are drawn here.")
    background: Literal["opaque"] = "opaque"
    created_at: int
    usage: Usage
    safety_identifier: str | None = None
    job_id: str
    seed: int


def _schema(event: type[BaseModel]) -> dict[str, Any]:
    """An event's schema; what it refers to is in the document for the answer that is not streamed."""
    schema = event.model_json_schema(ref_template=REFERENCES)
    schema.pop("$defs", None)
    return schema


STREAM = event_stream(
    message([f"{name}.partial_image" for name in NAMES.values()], _schema(PartialImageEvent)),
    message([f"{name}.completed" for name in NAMES.values()], _schema(CompletedEvent)),
    message(["error"], {"$ref": REFERENCES.format(model="ErrorResponse")}),
    description="Where `stream` is true. The last event may be `error`, an error as in every other answer.",
)


async def events(context: Context, project_id: str, job: JobRow, end_user: str | None) -> AsyncIterator[bytes]:
    """Follow a job of one image to its end, in OpenAI's events."""
    yield format_sse_event(comment=f"job {job.id}")
    try:
        async for event in _events(context, project_id, job, end_user):
            yield event
    except SafelightError as error:
        yield _error(error)
    except UNAVAILABLE as error:
        log.error("database unavailable: %s", first_line(error))
        yield _error(DatabaseUnavailable("The database does not answer; the job goes on."))


async def _events(context: Context, project_id: str, job: JobRow, end_user: str | None) -> AsyncIterator[bytes]:
    spoke_at, shown = time.monotonic(), -1
    async for happened in follow(context, job.id, 0):  # once a second at least
        if isinstance(happened, JobEventRow) and JobStatus(happened.data["status"]).is_final:
            yield await _last(context, await job_row(context, project_id, job.id), end_user)
        elif isinstance(happened, Mapping) and happened.get("partial_image_index", -1) > shown:
            shown = happened["partial_image_index"]  # a second attempt at the job begins anew with 0
            yield _partial(job, happened)
        elif time.monotonic() - spoke_at >= KEEP_ALIVE_SECONDS:
            yield format_sse_event(comment="keep-alive")
        else:
            continue
        spoke_at = time.monotonic()


def _partial(job: JobRow, preview: Mapping[str, Any]) -> bytes:
    return _told(
        PartialImageEvent(
            type=f"{NAMES[job.operation]}.partial_image",
            partial_image_index=preview["partial_image_index"],
            b64_json=preview["b64_json"],
            output_format=preview["media_type"].removeprefix("image/"),
            size=job.parameters.size,
            quality=job.parameters.quality,
            created_at=int(time.time()),
            job_id=job.id,
        )
    )


async def _last(context: Context, row: JobRow, end_user: str | None) -> bytes:
    """The final event of a job. Raises why there is no image."""
    if row.status != JobStatus.COMPLETED:
        raise failure(context, row)
    image = row.images[0]
    content = await context.storage.fetch(image["storage_key"])
    return _told(
        CompletedEvent(
            type=f"{NAMES[row.operation]}.completed",
            b64_json=base64.b64encode(content).decode(),
            output_format=row.parameters.output_format,
            size=dimensions(image),
            quality=quality(image) or "auto",
            created_at=seconds(row.finished_at) or int(time.time()),
            usage=await usage_of(context, row),
            safety_identifier=end_user,
            job_id=row.id,
            seed=image["seed"],
        )
    )


def _told(event: PartialImageEvent | CompletedEvent) -> bytes:
    return format_sse_event(event=event.type, data_str=event.model_dump_json())


def _error(error: SafelightError) -> bytes:
    return format_sse_event(event="error", data_str=body_of(error).model_dump_json())
