"""`/metrics`: the series of this API process, or of all that share its port, for Prometheus.

While keys are off, it is for the programs of this machine, as everything is. Otherwise a caller needs the token of the
metrics, or an API key with the scope admin. A scrape leaves no event in the audit log.
"""

import hmac

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from api.authentication import check_scope
from api.context import Context
from api.credentials import api_key, is_basic
from api.deps import AppContext
from api.supervisor import metrics_directory
from core.errors import Unauthorized
from core.scopes import Scope

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
async def metrics(request: Request, context: AppContext) -> Response:
    """The series, in Prometheus' text format."""
    if request.scope["needs_key"]:
        await _authorize(request.headers.get("authorization", ""), context)
    await context.queue_metrics.refresh()
    return Response(generate_latest(_registry()), media_type=CONTENT_TYPE_LATEST)


def _registry() -> CollectorRegistry:
    """The series of this process, or of all processes that share its port."""
    if metrics_directory() is None:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # untyped
    return registry


async def _authorize(authorization: str, context: Context) -> None:
    """Raises Unauthorized, InsufficientScope."""
    if _is_token(authorization, context):
        return
    key = "" if is_basic(authorization) else api_key(authorization)
    if not key:
        raise Unauthorized("Reading the metrics needs SAFELIGHT_METRICS_TOKEN, or an API key with the scope admin.")
    entry = await context.callers.identify(key)
    check_scope(entry.caller, Scope.ADMIN)


def _is_token(authorization: str, context: Context) -> bool:
    """Whether a header has the token of the metrics."""
    token = context.settings.metrics_token
    scheme, _, value = authorization.partition(" ")
    if token is None or scheme.lower() != "bearer":
        return False
    return hmac.compare_digest(value.strip().encode(), token.get_secret_value().encode())
