"""Server-sent events as a response: proxies do not buffer them, and comments keep quiet streams open.

FastAPI's own `EventSourceResponse` sends keep-alive comments only for routes that are generators. Ours decide between
a stream, JSON and 204 when the request has been read.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping

from fastapi.responses import StreamingResponse
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from core.errors import InvalidParameter
from core.telemetry.metrics import EVENT_STREAMS

KEEP_ALIVE_SECONDS = 15.0
"""Seconds without an event after which a comment is sent; proxies close quiet connections."""

KEEP_ALIVE = format_sse_event(comment="keep-alive")
RETRY_MILLISECONDS = 1000
"""Delay after which a browser's EventSource reconnects."""

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class EventStreamResponse(StreamingResponse):
    """A stream of encoded events, with keep-alive comments. However it ends, the generator of events is closed.

    retry: whether the first event carries `retry`. A block of its own would be an empty event for some clients.
    """

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[bytes, None], *, retry: bool = False, headers: Mapping[str, str] | None = None
    ) -> None:
        self._events = events
        self._retry = f"retry: {RETRY_MILLISECONDS}\n".encode() if retry else b""
        self._next: asyncio.Task[bytes | None] | None = None
        super().__init__(self._with_keep_alive(), headers={**HEADERS, **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they end or the client disconnects."""
        with EVENT_STREAMS.track_inprogress():
            try:
                await super().__call__(scope, receive, send)
            finally:
                await self._close()

    async def _with_keep_alive(self) -> AsyncGenerator[bytes, None]:
        while True:
            # A task of its own: a timeout must not cancel the generator.
            self._next = asyncio.create_task(self._next_event())
            while not (await asyncio.wait({self._next}, timeout=KEEP_ALIVE_SECONDS))[0]:
                yield KEEP_ALIVE
            event = self._next.result()
            if event is None:
                return
            yield self._retry + event
            self._retry = b""

    async def _next_event(self) -> bytes | None:
        return await anext(self._events, None)

    async def _close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._events.aclose()


def parse_last_event_id(last_event_id: str | None) -> int:
    """The `seq` after which a stream resumes; 0 without the header. Raises InvalidParameter."""
    if not re.fullmatch(r"[0-9]{1,18}", last_event_id or "0"):  # 18 digits fit into Postgres's bigint
        raise InvalidParameter("Last-Event-ID must be the `id` of an event of this stream.", param="Last-Event-ID")
    return int(last_event_id or 0)
