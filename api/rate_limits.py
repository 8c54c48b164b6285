"""Requests per minute: counted before a body is read, and shown in the headers of OpenAI.

Images per minute are counted when a job is submitted (`api/limits.py`), and shown in the same headers.
"""

from collections.abc import Mapping

from fastapi import Request

from api.authentication import scope_of
from api.callers import Caller
from api.limits import CallerLimits
from core.redis.rates import Rate
from core.scopes import Scope as KeyScope

UNCOUNTED = frozenset({"cancel", "interrupt", "skip", "set_options"})
"""Functions of routes that submit nothing, although their scope is that of submitting."""


async def limit_requests(request: Request) -> None:
    """Count a request that submits something. Runs after `authenticate`. Raises RateLimitExceeded."""
    endpoint = request.scope["endpoint"]
    if request.method == "POST" and scope_of(endpoint) is KeyScope.SUBMIT and endpoint.__name__ not in UNCOUNTED:
        await count_request(request)


async def count_request(request: Request) -> None:
    """Count a request that submits something. Raises RateLimitExceeded."""
    caller: Caller = request.scope["caller"]
    caller_limits: CallerLimits = request.app.state.context.limits
    await caller_limits.count_request(caller.project_id, caller.key_id)


def headers_of(rates: Mapping[str, Rate]) -> list[tuple[bytes, bytes]]:
    """The headers of a limited response: how many requests and images are left, in OpenAI's words."""
    headers = []
    for name, rate in rates.items():
        values = {"limit": str(rate.limit), "remaining": str(rate.remaining), "reset": f"{rate.reset_seconds:.3f}s"}
        headers += [(f"x-ratelimit-{kind}-{name}".encode(), value.encode()) for kind, value in values.items()]
    return headers
