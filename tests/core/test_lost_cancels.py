"""A call of an agent ends when it is cancelled, even if a task of its own loses the cancel once."""

import asyncio
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from api.edge.open_requests import OpenRequest
from api.mcp.tool import Call, CallCancelled
from tests.waiting import PATIENCE


async def lose_a_cancel() -> None:
    """As `asyncio.wait_for` of Python 3.11 does it, when its result comes at the same moment."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(3 * PATIENCE)
    await asyncio.sleep(3 * PATIENCE)


def test_a_cancel_that_is_lost_once_ends_the_wait() -> None:
    async def story() -> None:
        task: Any = asyncio.current_task()
        request: Any = SimpleNamespace(scope={"open_request": OpenRequest(task, is_reading=False)})
        nothing: Any = None
        call = Call(nothing, nothing, request, nothing)
        call._cancel_requested.set()
        async with asyncio.timeout(PATIENCE):
            await call.wait(lose_a_cancel(), 2 * PATIENCE)

    with pytest.raises(CallCancelled):
        asyncio.run(story())
