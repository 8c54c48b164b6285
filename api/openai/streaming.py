"""`stream: true` of OpenAI's images calls: the previews and the image of a job as server-sent events.

An error after the stream has started is its last event, `error`, which the SDKs raise.
"""

import base64
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field

from api.context import Context
from api.errors import body_of, from_database_error
from api.jobs.waiting import follow, job_row
from api.openai.responses import failure, usage_of
from api.openapi import REFERENCES, event_stream, message
from core.db import UNAVAILABLE
from core.errors import SafelightError
from core.images.postprocess import output_size
from core.parameters.job import Operation
from core.responses.job import seconds
from core.responses.openai import Usage, background, dimensions, output_format, quality
from core.rows.job import JobEventRow, JobRow
from core.status import JobStatus

NAMES: Mapping[Operation, str] = {"generation": "image_generation", "edit": "image_edit"}
"""The prefix of the names of OpenAI's events."""


class PartialImageEvent(BaseModel):
    """A preview of the unfinished image."""

    type: Literal["image_generation.partial_image", "image_edit.partial_image"]
    partial_image_index: int
    b64_json: str = Field(description="At most 256 px on each side.")
    output_format: str = Field(description="The format of the preview: `webp`.")
    size: str = Field(description="The size of the finished image.")
    quality: str = Field(description="The requested quality.")
    background: Literal["opaque"] = "opaque"
    created_at: int
    job_id: str


class CompletedEvent(BaseModel):
    """The image. This is the last event."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    b64_json: str
    output_format: str
    size: str
    quality: str = Field(description="The quality that the provider reports; `auto` for local models.")
    background: Literal["opaque", "transparent"] = "opaque"
    created_at: int
    usage: Usage
    safety_identifier: str | None = None
    job_id: str
    seed: int


def event_schema(event: type[BaseModel]) -> dict[str, Any]:
    """An event's schema. Its definitions are in the document already, for the response without a stream."""
    schema = event.model_json_schema(ref_template=REFERENCES)
    schema.pop("$defs", None)
    return schema


STREAM = event_stream(
    message([f"{name}.partial_image" for name in NAMES.values()], event_schema(PartialImageEvent)),
    message([f"{name}.completed" for name in NAMES.values()], event_schema(CompletedEvent)),
    message(["error"], {"$ref": REFERENCES.format(model="ErrorResponse")}),
    description="With `stream: true`. The last event may be `error`, with an error as in any other response.",
)


async def stream_events(context: Context, project_id: str, job: JobRow, end_user: str | None) -> AsyncIterator[bytes]:
    """The previews and the final event of a job with one image, encoded as server-sent events."""
    yield format_sse_event(comment=f"job {job.id}")
    try:
        async for event in _events(context, project_id, job, end_user):
            yield event
    except SafelightError as error:
        yield _error(error)
    except UNAVAILABLE as error:
        yield _error(from_database_error(error))


async def _events(context: Context, project_id: str, job: JobRow, end_user: str | None) -> AsyncIterator[bytes]:
    last_index = -1
    async for item in follow(context, job.id, 0):
        if isinstance(item, JobEventRow):
            if JobStatus(item.data["status"]).is_final:
                yield await _completed_event(context, await job_row(context, project_id, job.id), end_user)
                return
        elif item.get("partial_image_index", -1) > last_index:
            last_index = item["partial_image_index"]  # a second attempt at the job starts again at 0
            yield _partial_event(job, item)
    await job_row(context, project_id, job.id)  # it was deleted: raises NotFound


def _partial_event(job: JobRow, preview: Mapping[str, Any]) -> bytes:
    return _encode(
        PartialImageEvent(
            type=f"{NAMES[job.operation]}.partial_image",
            partial_image_index=preview["partial_image_index"],
            b64_json=preview["b64_json"],
            output_format=preview["media_type"].removeprefix("image/"),
            size=output_size(job.parameters.output_size or job.parameters.generated_size, job.parameters.postprocess),
            quality=job.parameters.quality,
            created_at=int(time.time()),
            job_id=job.id,
        )
    )


async def _completed_event(context: Context, row: JobRow, end_user: str | None) -> bytes:
    """The last event. Raises why there is no image."""
    if row.status != JobStatus.COMPLETED:
        raise failure(context, row)
    image = row.images[0]
    content = await context.storage.get_async(image["storage_key"])
    return _encode(
        CompletedEvent(
            type=f"{NAMES[row.operation]}.completed",
            b64_json=base64.b64encode(content).decode(),
            output_format=output_format(image),
            size=dimensions(image),
            quality=quality(image) or "auto",
            background=background(image),
            created_at=seconds(row.finished_at) or int(time.time()),
            usage=await usage_of(context, row),
            safety_identifier=end_user,
            job_id=row.id,
            seed=image["seed"],
        )
    )


def _encode(event: PartialImageEvent | CompletedEvent) -> bytes:
    return format_sse_event(event=event.type, data_str=event.model_dump_json(exclude_none=True))


def _error(error: SafelightError) -> bytes:
    return format_sse_event(event="error", data_str=body_of(error).model_dump_json())
