"""Observes the time of each request, by the template of its route."""

from starlette.types import Scope

from core.telemetry.metrics import HTTP_SECONDS

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""A client can send any word as a method; the others are `other`."""

NO_ROUTE = "none"
"""The label of requests that no route has handled: unknown paths, refusals before the router, files."""


def observe(scope: Scope, status: int, seconds: float) -> None:
    """Observe the time until the response to a request began."""
    method = scope["method"] if scope["method"] in METHODS else "other"
    route = getattr(scope.get("route"), "path_format", NO_ROUTE)
    HTTP_SECONDS.labels(method, route, str(status)).observe(seconds)
