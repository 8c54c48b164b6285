"""Gathers what arrives at an event loop in the same moment, so that one request to a server is for all of it."""

import asyncio
from collections.abc import Callable
from math import inf


async def until_quiet(count: Callable[[], int], limit: float = inf) -> None:
    """Wait while each turn of the event loop brings more, up to a limit. Without load this is one turn.

    Clients that were answered together send their next requests at almost the same time. A statement, or a request to
    Redis, costs this process almost the same for one of them as for many.
    """
    last = 0
    while last < (current := count()) < limit:
        last = current
        await asyncio.sleep(0)
