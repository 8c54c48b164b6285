"""Authentication: who sends a request. Its API key is checked before anything of its body is read.

`create_app` adds `authenticate` to the routers, not to single routes, so that a new route cannot forget it.
"""

import time
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from api.context import Context
from core import keys
from core.errors import Unauthorized
from core.keys import ALL_SCOPES
from core.tables import DEFAULT_PROJECT

CACHE_SECONDS = 30.0
"""How long an API key is cached; a revoked key is rejected after this time at the latest."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request: a project, by one of its API keys.

    key_id: None if requests need no key. scopes: what the key may be used for.
    """

    project_id: str
    key_id: str | None
    scopes: frozenset[str]


KEYLESS_CALLER = Caller(DEFAULT_PROJECT, None, ALL_SCOPES)
"""The caller of every request, if requests need no key."""


async def authenticate(request: Request) -> Caller:
    """The caller of a request. Other dependencies get it as `CurrentCaller`. Raises Unauthorized."""
    caller: Caller = await _identify(request)
    request.scope["caller"] = caller
    return caller


async def _identify(request: Request) -> Caller:
    context: Context = request.app.state.context
    if not context.settings.needs_key:
        return KEYLESS_CALLER
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.startswith(keys.PREFIX):
        raise Unauthorized
    cache: dict[bytes, tuple[Caller, float]] = request.app.state.callers
    key_hash = keys.hash_key(key)
    entry = cache.get(key_hash)
    if entry is None or entry[1] < time.monotonic():
        rows = await context.database.execute(keys.find_valid(key_hash))
        if not rows:
            cache.pop(key_hash, None)
            raise Unauthorized
        caller = Caller(rows[0].project_id, rows[0].id, ALL_SCOPES)
        entry = cache[key_hash] = (caller, time.monotonic() + CACHE_SECONDS)
    return entry[0]


async def current_caller(request: Request) -> Caller:
    """The caller that `authenticate` identified."""
    caller: Caller = request.scope["caller"]
    return caller


async def project(request: Request) -> str:
    """The project of the caller."""
    caller: Caller = request.scope["caller"]
    return caller.project_id


CurrentCaller = Annotated[Caller, Depends(current_caller)]
Project = Annotated[str, Depends(project)]
