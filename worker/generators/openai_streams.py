"""OpenAI's answer as a stream of events: looks at the image while it is drawn, then the image.

Once it has begun, only an image or a refusal by moderation say what came of the request. A stream that breaks, ends or
fails in between leaves that open, exactly as a broken answer does: what was drawn until then may be billed.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final

from openai import APIError, AsyncStream
from openai.types import ImageEditStreamEvent, ImageGenStreamEvent

from core.errors import ContentPolicyViolation, ProviderOutcomeUnknown
from core.generation import Reply, Show
from core.status import CallOutcome
from worker.generators.openai_replies import (
    MODERATION,
    UNREADABLE,
    Options,
    image,
    moderated,
    of_answer,
    of_said,
    short,
    unreadable,
)

log = logging.getLogger(__name__)

PARTIAL: Final = frozenset({"image_generation.partial_image", "image_edit.partial_image"})
COMPLETED: Final = frozenset({"image_generation.completed", "image_edit.completed"})


async def of_stream(
    stream: AsyncStream[ImageGenStreamEvent | ImageEditStreamEvent], model: str, options: Options, show: Show
) -> Reply:
    """Read a 200 of one image to its end, passing the looks on. An answer that is no stream is read as one.

    Raises the SDK's errors: an APIConnectionError where the stream breaks, an APIError for an event that is an error.
    """
    response = stream.response
    if not response.headers.get("content-type", "").startswith("text/event-stream"):
        await response.aread()
        return of_answer(response, model, 1, options)
    looks = 0
    try:
        async for event in stream:
            kind = getattr(event, "type", "")
            if kind in PARTIAL:
                _look(event, looks, show)
                looks += 1
            elif kind in COMPLETED:
                said: Mapping[str, Any] = event.model_dump(warnings=False)
                return of_said(response, {**said, "data": [said]}, model, 1, options)
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
    """A stream whose last event says that it failed. Only moderation says for sure that no image comes of it."""
    if error.code in MODERATION:
        return Reply(CallOutcome.REFUSED, error=ContentPolicyViolation(moderated(error)), http_status=200)
    doubt = f"OpenAI broke off after it had begun to draw: {short(error)}"
    return Reply(CallOutcome.UNKNOWN, error=ProviderOutcomeUnknown(doubt), http_status=200)


def _look(event: Any, number: int, show: Show) -> None:
    """Pass on a look at the image, if it can be read: the image itself matters more."""
    try:
        seen = image(event.b64_json)
    except UNREADABLE as error:
        log.warning("look %d cannot be read: %s: %s", number, type(error).__name__, short(error))
    else:
        show(number, seen)
