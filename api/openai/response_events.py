"""`stream: true` of OpenAI's Responses API: the state of the image call, its previews and the image, as events.

Each event has a fixed `sequence_number`, with one for every preview that was requested. So a client can resume a
stream after any event, and a preview that is lost leaves a gap.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import Any, Literal

from fastapi.sse import format_sse_event
from pydantic import BaseModel, Field

from api.context import Context
from api.errors import body_of, from_database_error
from api.jobs.waiting import follow, job_row
from api.openai.responses import image_base64, usage_of
from api.openai.streaming import event_schema
from api.openapi import REFERENCES, event_stream, message
from core.db import UNAVAILABLE
from core.errors import SafelightError
from core.responses.job import is_none
from core.responses.response import (
    ImageGenerationCall,
    OutputMessage,
    OutputText,
    ResponseObject,
    image_call,
    output_message,
    response_object,
    target_size,
)
from core.rows.job import JobEventRow, JobRow
from core.status import JobStatus


class ResponseEvent(BaseModel):
    """The response at a point in time. The last event has its image, or the error."""

    type: Literal["response.created", "response.in_progress", "response.completed", "response.failed"]
    sequence_number: int
    response: ResponseObject


class ItemEvent(BaseModel):
    """The image call, or the message after it, begins or ends."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    sequence_number: int
    output_index: int = 0
    item: ImageGenerationCall | OutputMessage


class CallEvent(BaseModel):
    """The state of the image call."""

    type: Literal[
        "response.image_generation_call.in_progress",
        "response.image_generation_call.generating",
        "response.image_generation_call.completed",
    ]
    sequence_number: int
    output_index: int = 0
    item_id: str


class PartialImageEvent(BaseModel):
    """A preview of the unfinished image."""

    type: Literal["response.image_generation_call.partial_image"] = "response.image_generation_call.partial_image"
    sequence_number: int
    output_index: int = 0
    item_id: str
    partial_image_index: int
    partial_image_b64: str
    output_format: str
    size: str
    quality: str
    background: Literal["opaque"] = "opaque"


class PartEvent(BaseModel):
    """The text of the message begins or ends."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    sequence_number: int
    output_index: int = 1
    content_index: int = 0
    item_id: str
    part: OutputText


class TextEvent(BaseModel):
    """The text of the message, as a whole. `delta` of the first such event, `text` of the last."""

    type: Literal["response.output_text.delta", "response.output_text.done"]
    sequence_number: int
    output_index: int = 1
    content_index: int = 0
    item_id: str
    delta: str | None = Field(None, exclude_if=is_none)
    text: str | None = Field(None, exclude_if=is_none)
    logprobs: list[dict[str, Any]] = []


Event = ResponseEvent | ItemEvent | CallEvent | PartialImageEvent | PartEvent | TextEvent

STREAM = event_stream(
    *(
        message(_names, event_schema(_kind))
        for _kind, _names in (
            (ResponseEvent, ["response.created", "response.in_progress", "response.completed", "response.failed"]),
            (ItemEvent, ["response.output_item.added", "response.output_item.done"]),
            (
                CallEvent,
                [f"response.image_generation_call.{_state}" for _state in ("in_progress", "generating", "completed")],
            ),
            (PartialImageEvent, ["response.image_generation_call.partial_image"]),
            (PartEvent, ["response.content_part.added", "response.content_part.done"]),
            (TextEvent, ["response.output_text.delta", "response.output_text.done"]),
        )
    ),
    message(["error"], {"$ref": REFERENCES.format(model="ErrorResponse")}),
    description="With `stream: true`. The last event is `response.completed`, `response.failed` or `error`.",
)

FIRST_PREVIEW = 5
"""The sequence number of the first preview: five events come before it."""


async def response_events(
    context: Context, project_id: str, row: JobRow, after: int = -1, *, is_background: bool | None = None
) -> AsyncGenerator[bytes, None]:
    """The events of a response with a sequence number above `after`, encoded as server-sent events."""
    try:
        async for event in _events(context, project_id, row, is_background):
            if event.sequence_number > after:
                yield format_sse_event(event=event.type, data_str=event.model_dump_json())
    except SafelightError as error:
        yield _error(error, row)
    except UNAVAILABLE as error:
        yield _error(from_database_error(error), row)


async def _events(context: Context, project_id: str, row: JobRow, is_background: bool | None) -> AsyncIterator[Event]:
    first = response_object(row, is_background=is_background)
    yield ResponseEvent(type="response.created", sequence_number=0, response=first)
    has_begun, last_index = False, -1
    async for item in follow(context, row.id, 0):
        if isinstance(item, JobEventRow):
            status = JobStatus(item.data["status"])
            if not has_begun and status in (JobStatus.IN_PROGRESS, JobStatus.COMPLETED):
                has_begun = True
                for event in _begin(first, row):
                    yield event
            if status.is_final:
                async for event in _end(context, await job_row(context, project_id, row.id), is_background):
                    yield event
                return
        elif item.get("partial_image_index", -1) > last_index:
            last_index = item["partial_image_index"]  # a second attempt at the job starts again at 0
            yield _preview(row, item)
    await job_row(context, project_id, row.id)  # it was deleted: raises NotFound


def _begin(first: ResponseObject, row: JobRow) -> Iterator[Event]:
    """The job has started."""
    response = first.model_copy(update={"status": "in_progress", "output": [], "error": None})
    call = image_call(row).model_copy(update={"status": "in_progress"})
    yield ResponseEvent(type="response.in_progress", sequence_number=1, response=response)
    yield ItemEvent(type="response.output_item.added", sequence_number=2, item=call)
    yield CallEvent(type="response.image_generation_call.in_progress", sequence_number=3, item_id=call.id)
    yield CallEvent(type="response.image_generation_call.generating", sequence_number=4, item_id=call.id)


def _preview(row: JobRow, preview: Mapping[str, Any]) -> PartialImageEvent:
    index = preview["partial_image_index"]
    return PartialImageEvent(
        sequence_number=FIRST_PREVIEW + index,
        item_id=image_call(row).id,
        partial_image_index=index,
        partial_image_b64=preview["b64_json"],
        output_format=preview["media_type"].removeprefix("image/"),
        size=target_size(row),
        quality=row.parameters.quality,
    )


async def _end(context: Context, row: JobRow, is_background: bool | None) -> AsyncIterator[Event]:
    """The last events of a final job."""
    number = FIRST_PREVIEW + row.parameters.partial_images
    response = await full_response(context, row, is_background=is_background)
    if row.status != JobStatus.COMPLETED:
        yield ResponseEvent(type="response.failed", sequence_number=number, response=response)
        return
    call, reply = image_call(row), output_message(row)
    yield CallEvent(type="response.image_generation_call.completed", sequence_number=number, item_id=call.id)
    yield ItemEvent(type="response.output_item.done", sequence_number=number + 1, item=response.output[0])
    for event in _message_events(reply, number + 2):
        yield event
    yield ResponseEvent(type="response.completed", sequence_number=number + 8, response=response)


def _message_events(reply: OutputMessage, number: int) -> Iterator[Event]:
    """The six events of a message."""
    part, begin = reply.content[0], reply.model_copy(update={"status": "in_progress", "content": []})
    yield ItemEvent(type="response.output_item.added", sequence_number=number, output_index=1, item=begin)
    yield PartEvent(type="response.content_part.added", sequence_number=number + 1, item_id=reply.id, part=OutputText())
    yield TextEvent(type="response.output_text.delta", sequence_number=number + 2, item_id=reply.id, delta=part.text)
    yield TextEvent(type="response.output_text.done", sequence_number=number + 3, item_id=reply.id, text=part.text)
    yield PartEvent(type="response.content_part.done", sequence_number=number + 4, item_id=reply.id, part=part)
    yield ItemEvent(type="response.output_item.done", sequence_number=number + 5, output_index=1, item=reply)


async def full_response(context: Context, row: JobRow, *, is_background: bool | None = None) -> ResponseObject:
    """The response of a job; with its image if it is completed."""
    if row.status != JobStatus.COMPLETED:
        return response_object(row, is_background=is_background)
    image = await image_base64(context, row.images[0])
    return response_object(row, image=image, usage=await usage_of(context, row), is_background=is_background)


def _error(error: SafelightError, row: JobRow) -> bytes:
    number = FIRST_PREVIEW + row.parameters.partial_images
    data = {"type": "error", "sequence_number": number} | body_of(error).model_dump()
    return format_sse_event(event="error", data_str=json.dumps(data))
