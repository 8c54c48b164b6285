"""Requests in progress: they end when their API key does, whatever their route.

Most requests are over before a key can end. What lasts is interrupted: requests that only read, those that wait for a
job, and responses that are being sent. A stream of events gets the error as its last event; another response breaks
off, so that its client does not take it for complete; a request without a response is refused. A request that writes
is not interrupted while it does.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from api.errors import body_of, render
from core.errors import Unauthorized
from core.scopes import Scope as KeyScope

SEND_SECONDS = 1.0
"""How long the last event of a stream may take; a client that does not read does not get it."""


class OpenRequest:
    """A request in progress, in its own task. key_scope: what its API key must have."""

    def __init__(self, task: asyncio.Task[object], is_reading: bool) -> None:
        self.key_scope: KeyScope | None = None
        self._groups: tuple[set[OpenRequest], ...] = ()
        self.has_ended = False
        self.content_type: str | None = None
        self._task = task
        self._is_interruptible = is_reading

    @property
    def has_started(self) -> bool:
        """Whether the response has started."""
        return self.content_type is not None

    def join(self, key_scope: KeyScope, *groups: "set[OpenRequest]") -> None:
        """Belong to the requests of a key, and of its project, until the request ends."""
        self.key_scope, self._groups = key_scope, groups
        for requests in groups:
            requests.add(self)

    def leave(self) -> None:
        """Belong to no key any more."""
        for requests in self._groups:
            requests.discard(self)

    def end(self) -> None:
        """The key has ended: interrupt the request, or refuse it at its next wait or response."""
        if not self.has_ended:
            self.has_ended = True
            if self._is_interruptible:
                self._task.cancel()

    def start(self, content_type: str) -> None:
        """The response starts."""
        self.content_type = content_type
        self._is_interruptible = True
        if self.has_ended:
            self._task.cancel()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A part that may be interrupted, such as a wait. Raises Unauthorized if the key has ended."""
        if self.has_ended:
            raise ended_error()
        was_interruptible, self._is_interruptible = self._is_interruptible, True
        try:
            yield
        finally:
            self._is_interruptible = was_interruptible

    def take_back_interrupt(self) -> bool:
        """Whether `end` has interrupted the task; if so, it may go on."""
        if self.has_ended:
            self._task.uncancel()
        return self.has_ended


def ended_error() -> Unauthorized:
    """The error of a request whose key has ended meanwhile."""
    return Unauthorized("The API key was revoked, or it has expired.")


async def send_end(request: OpenRequest, scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse the request, or end its stream with an error. Another response stays incomplete: the server closes it."""
    error = ended_error()
    try:
        async with asyncio.timeout(SEND_SECONDS):
            if not request.has_started:
                await render(error, scope["path"])(scope, receive, send)
            elif request.content_type is not None and request.content_type.startswith("text/event-stream"):
                event = format_sse_event(event="error", data_str=body_of(error).model_dump_json())
                await send({"type": "http.response.body", "body": event, "more_body": False})
    except TimeoutError:
        return
