"""OpenAI's answer as a stream of events: partial images while the image is generated, then the image.

Once the stream has begun, only an image or a refusal by moderation is a known outcome. If the stream breaks, ends early
or reports another error, the outcome is unknown, because what was generated until then may be billed.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from openai import APIError, AsyncStream
from openai.types import ImageEditStreamEvent, ImageGenStreamEvent

from core.generation import Reply, Show
from core.generation_errors import ContentPolicyViolation, ProviderOutcomeUnknown
from core.status import CallOutcome
from worker.generators.openai_replies import (
    MODERATION,
    UNREADABLE,
    Options,
    image,
    moderated,
    of_answer,
    of_body,
    short,
    unreadable,
)

log = logging.getLogger(__name__)

PARTIAL: Final = frozenset({"image_generation.partial_image", "image_edit.partial_image"})
COMPLETED: Final = frozenset({"image_generation.completed", "image_edit.completed"})


async def of_stream(
    stream: AsyncStream[ImageGenStreamEvent | ImageEditStreamEvent], model: str, options: Options, show: Show
) -> Reply:
    """Read the stream of a 200 with one image to its end, and show its partial images.

    An answer that is no stream is read as a whole. Raises the SDK's errors: an APIConnectionError if the stream breaks,
    an APIError for an error event.
    """
    response = stream.response
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        await response.aread()
        return of_answer(response, model, 1, options)
    partial_count = 0
    try:
        async for event in stream:
            kind = getattr(event, "type", "")
            if kind in PARTIAL:
                _show_partial(event, partial_count, show)
                partial_count += 1
            elif kind in COMPLETED:
                fields: Mapping[str, Any] = event.model_dump(warnings=False)
                return of_body(response, {**fields, "data": [fields]}, model, 1, options)
            elif kind == "error":
                raise APIError(str(getattr(event, "message", kind)), response.request, body=event.model_dump())
    except ValueError as error:
        return unreadable(response, error)
    return Reply(
        CallOutcome.UNKNOWN,
        error=ProviderOutcomeUnknown("OpenAI's stream ended before the image came."),
        http_status=response.status_code,
        request_id=response.headers.get("x-request-id"),
    )


def of_error_event(error: APIError) -> Reply:
    """The reply for an error event. Only after a refusal by moderation it is certain that there is no image."""
    if error.code in MODERATION:
        return Reply(CallOutcome.REFUSED, error=ContentPolicyViolation(moderated(error)), http_status=200)
    doubt = f"OpenAI stopped after it had begun to generate: {short(error)}"
    return Reply(CallOutcome.UNKNOWN, error=ProviderOutcomeUnknown(doubt), http_status=200)


def _show_partial(event: Any, number: int, show: Show) -> None:
    """Show a partial image. One that cannot be read is only logged: the final image matters more."""
    try:
        partial_image = image(event.b64_json)
    except UNREADABLE as error:
        log.warning("partial image %d cannot be read: %s: %s", number, type(error).__name__, short(error))
    else:
        show(number, partial_image)
