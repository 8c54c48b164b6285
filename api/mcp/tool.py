"""What a tool is, and what a call of it has: the caller, its progress, its cancellation."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from mcp.server.context import ServerRequestContext
from mcp_types import ContentBlock
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel

from api.callers import Caller
from api.context import Context
from api.edge.open_requests import OpenRequest
from api.mcp.exchange import EXCHANGE, Exchange, call_id
from core.parameters.job import Operation
from core.scopes import Scope

CANCEL_AGAIN_SECONDS = 0.5
"""How long a task that ignores a cancel has until it is cancelled again."""


class CallCancelled(Exception):
    """The client has cancelled the call by a message."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a call: an object, and images."""

    result: BaseModel
    content: tuple[ContentBlock, ...] = ()


@dataclass(slots=True)
class Call:
    """A call of a tool."""

    context: Context
    caller: Caller
    request: Request
    _protocol: ServerRequestContext[Any, Request]
    _cancel_requested: asyncio.Event = field(default_factory=asyncio.Event)
    _progress: float = -1.0

    @classmethod
    def of(cls, protocol: ServerRequestContext[Any, Request]) -> "Call":
        """The call of a message of the protocol."""
        request = protocol.request
        if request is None:
            raise RuntimeError("a message without an HTTP request")
        context: Context = request.app.state.context
        return cls(context.at(request.scope["base_url"]), request.scope["caller"], request, protocol)

    @property
    def project_id(self) -> str:
        """The project of the caller."""
        return self.caller.project_id

    @property
    def is_abandoned(self) -> bool:
        """Whether the client has cancelled the call by closing its connection; see `exchange.py`."""
        exchange: Exchange = self.request.scope[EXCHANGE]
        return exchange.has_disconnected and self._protocol.protocol_version in MODERN_PROTOCOL_VERSIONS

    @asynccontextmanager
    async def cancellable(self) -> AsyncIterator[None]:
        """Receive the message that cancels the call, while the context lasts.

        Raises CallCancelled if it came before.
        """
        channel = call_id(self.request, self.caller, self._protocol.request_id)
        if channel is None:
            yield
            return
        async with self.context.listener.watch(channel) as messages:
            if await self.context.listener.is_cancelled(channel):  # before the call was watched, or even received
                raise CallCancelled

            async def receive() -> None:
                while (await messages.get())["type"] != "cancelled":
                    pass
                self._cancel_requested.set()

            receiver = asyncio.create_task(receive())
            try:
                yield
            finally:
                receiver.cancel()

    async def report(self, progress: float, total: float | None, message: str) -> None:
        """Send progress, if the client requests it. It only grows, although a new attempt begins at step 1 again."""
        if progress > self._progress:
            self._progress = progress
            await self._protocol.session.report_progress(progress, total, message)

    async def wait(self, work: Coroutine[Any, Any, None], max_seconds: float) -> None:
        """Run what only waits and reads, for max_seconds at most.

        Raises CallCancelled, and Unauthorized when the API key ends.
        """
        open_request: OpenRequest = self.request.scope["open_request"]
        task = asyncio.create_task(work)
        cancellation = asyncio.create_task(self._cancel_requested.wait())
        try:
            with open_request.interruptible():
                await asyncio.wait({task, cancellation}, timeout=max_seconds, return_when=asyncio.FIRST_COMPLETED)
            if cancellation.done():
                raise CallCancelled
            if task.done():
                task.result()
        finally:
            await _end(task, cancellation)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended.

    A cancel is repeated, because it can be lost: `asyncio.wait_for` of Python 3.11, with which redis-py writes, returns
    its result instead if that comes at the same moment.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool, and what its listing says about it.

    arguments, result: the types from which the schemas are made. operation: that of the images which it generates.
    hidden: fields of `arguments` that the listing leaves out. is_submission: a call counts for the requests per minute.
    """

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    result: type[BaseModel]
    run: Callable[[Call, Any], Awaitable[Answer]]
    operation: Operation | None = None
    hidden: frozenset[str] = frozenset()
    is_submission: bool = False
    is_read_only: bool = False
    is_destructive: bool = False
    is_idempotent: bool = False

    @property
    def scope(self) -> Scope:
        """The scope that a key needs, beside that of the route."""
        return Scope.READ if self.is_read_only else Scope.SUBMIT
