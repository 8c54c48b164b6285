"""Authentication: who sends a request, and whether the API key has the scope of the route.

`create_app` adds `authenticate` to the routers, so that a new route cannot forget it. A key is checked before anything
of the body is read. A route declares its scope with `@requires`; a route without a scope answers nobody.
"""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from api.a1111 import errors as a1111
from api.audit import event_of
from api.callers import Caller as Caller
from api.context import Context
from api.credentials import api_key, is_basic
from api.edge.address import api_path
from api.studio import session
from core import audit
from core.audit import AuditType
from core.errors import InsufficientScope, Unauthorized
from core.scopes import ALL_SCOPES, Scope
from core.tables import DEFAULT_PROJECT

EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])

KEYLESS_CALLER = Caller(DEFAULT_PROJECT, None, ALL_SCOPES)
"""The caller of every request, if requests need no key."""

_scopes: dict[Any, Scope] = {}


def requires(scope: Scope) -> Callable[[EndpointT], EndpointT]:
    """Declare the scope that a route needs. Stands directly above the function of the route."""

    def declare(endpoint: EndpointT) -> EndpointT:
        _scopes[endpoint] = scope
        return endpoint

    return declare


def scope_of(endpoint: Any) -> Scope | None:
    """The scope that the function of a route needs; None if it declares none."""
    return _scopes.get(endpoint)


async def authenticate(request: Request) -> Caller:
    """The caller of a request. Other dependencies get it as `CurrentCaller`. Raises Unauthorized, InsufficientScope."""
    scope = _scopes[request.scope["endpoint"]]
    caller = request.scope["caller"] = await _identify(request, scope)
    check_scope(caller, scope)
    # Reading queues and workers, which terminals and pages do each second, is left out of the audit log.
    if scope is Scope.ADMIN and not (request.method == "GET" and api_path(request).startswith("/v1/admin/")):
        call = {"method": request.method, "path": api_path(request)}
        event = event_of(caller, AuditType.ADMIN_CALL, **call)
        await request.app.state.context.database.execute(audit.record(event))
    return caller


def check_scope(caller: Caller, scope: Scope) -> None:
    """Raise InsufficientScope if a caller does not have a scope."""
    if scope not in caller.scopes:
        key_scopes = ", ".join(sorted(caller.scopes)) or "none"
        raise InsufficientScope(
            f"This call needs an API key with the scope {scope}. The scopes of yours: {key_scopes}."
        )


async def _identify(request: Request, scope: Scope) -> Caller:
    context: Context = request.app.state.context
    if not request.scope["needs_key"]:
        return KEYLESS_CALLER
    authorization = request.headers.get("authorization", "")
    takes_basic = api_path(request).startswith(a1111.PREFIX)
    key = "" if is_basic(authorization) and not takes_basic else api_key(authorization)
    if key:
        entry = await context.callers.identify(key)
    elif not authorization and (key_hash := _session_of(request, context)) is not None:
        entry = await context.callers.identify_hash(key_hash)
    else:
        raise Unauthorized
    context.callers.begin(entry, request.scope["open_request"], scope)
    return entry.caller


def _session_of(request: Request, context: Context) -> bytes | None:
    """The hash of the key of the studio's session, for the calls that the studio makes."""
    if not api_path(request).startswith(session.PREFIX):
        return None
    return session.session_key_hash(request, context.settings)


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
