"""The ASGI application. `python -m api` serves it, with the limits of `api/edge/`."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from api import (
    audit_logs,
    erasures,
    errors,
    files,
    generate_image,
    health,
    images,
    keys,
    metrics,
    models,
    openapi,
    usage,
)
from api.a1111 import control as webui_control
from api.a1111 import extras as webui_extras
from api.a1111 import images as webui_images
from api.a1111 import lists as webui_lists
from api.a1111 import options as webui_options
from api.a1111 import progress as webui_progress
from api.admin import bulk as admin_bulk
from api.admin import reports as admin_reports
from api.admin import routes as admin
from api.authentication import authenticate
from api.batches import downloads as batch_downloads
from api.batches import events as batch_events
from api.batches import routes as batches
from api.context import Context
from api.deps import reject_nul
from api.direct_routes import DirectRoutes
from api.edge.middleware import RequestMiddleware
from api.fine_tuning import routes as fine_tuning
from api.guide import routes as guide
from api.jobs import events as job_events
from api.jobs import reproduction as job_reproduction
from api.jobs import routes as jobs
from api.jobs import streams as job_streams
from api.mcp import routes as mcp
from api.mcp.protocol import Protocol
from api.openai import images as openai_images
from api.openai import response_routes
from api.rate_limits import limit_requests
from api.studio import routes as studio
from api.tracing import Tracing
from api.webhooks import deliveries as webhook_deliveries
from api.webhooks import routes as webhooks
from core.permissions import make_private
from core.settings import Settings
from core.settings.environment import log_unknown
from core.telemetry import logs, tracing

log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0005
"""How long a thread that parses may keep Python's interpreter while the event loop waits for it. The default of 5 ms
delays every step of every request while a batch is parsed; this costs the parser some percent."""

DESCRIPTION = """
Image generation with durable jobs. Submit a prompt and get a job; poll it, wait for it (`?wait=30`), or follow its
events. The images calls are compatible with OpenAI's, so the official SDKs work as clients.

Errors have OpenAI's format, `{"error": {"message", "type", "param", "code"}}`. Every response has an `x-request-id`.
"""


BATCHES = (batches, batch_events, batch_downloads, erasures)
WEBUI = (webui_images, webui_progress, webui_options, webui_lists, webui_extras, webui_control)

TAGS = [
    {"name": "jobs", "description": "Requests for n images: submit, follow, cancel, retry."},
    {"name": "images", "description": "Images, and OpenAI-compatible synchronous calls."},
    {"name": "responses", "description": "OpenAI's Responses API, for its tool `image_generation`."},
    {
        "name": "batches",
        "description": "Many prompts at once: OpenAI's Batch API, and two shorter ways to submit a batch.",
    },
    {"name": "files", "description": "Input images of jobs, and input and output of batches: OpenAI's Files API."},
    {"name": "erasures", "description": "Deletion of all data of an end user or a batch."},
    {"name": "webhooks", "description": "OpenAI-compatible webhook endpoints, and the deliveries of events to them."},
    {"name": "fine-tuning", "description": "OpenAI's fine-tuning API: models that learn from images of a project."},
    {"name": "models", "description": "The models that requests can name."},
    {"name": "webui", "description": "The API of AUTOMATIC1111's stable-diffusion-webui, for its clients."},
    {"name": "audit logs", "description": "What operators need to know about keys, webhooks and deletions."},
    {"name": "api keys", "description": "The API keys of a project, in OpenAI's format."},
    {"name": "admin", "description": "Queues, workers and failures of all projects, for operators."},
    {"name": "usage", "description": "Usage, costs and limits of projects and API keys."},
    {"name": "health", "description": "Checks for load balancers and operators."},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application from settings, by default from the environment."""
    settings = settings or Settings()
    logs.install(settings)
    app = FastAPIOffline(  # /docs works without internet access
        title="Safelight",
        version=version("safelight"),
        summary="Self-hosted, asynchronous image generation.",
        description=DESCRIPTION,
        lifespan=partial(_lifespan, settings),
        dependencies=[Depends(reject_nul)],
        redirect_slashes=False,  # a redirect would lead to whatever `Host` says
        license_info={"name": "Apache-2.0"},
        openapi_tags=TAGS,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # those of `api/tracing.py` quote no prompt
        generate_unique_id_function=lambda route: "_".join([*map(str, route.tags), route.name]),
    )
    errors.install(app)
    _include_routers(app)
    webhooks.describe(app)

    openapi.serve(app, needs_key=settings.needs_key)
    app.state.direct_routes = DirectRoutes(app)
    middleware: ASGIApp = RequestMiddleware(app.build_middleware_stack(), app.state.direct_routes, settings)
    app.middleware_stack = Tracing(middleware) if tracing.install("safelight-api") else middleware
    return app


@asynccontextmanager
async def _lifespan(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    """What the application has open while it serves."""
    make_private(settings.data_dir)
    log_unknown()
    if not settings.needs_key:
        log.warning(settings.access)
    if settings.lacks_public_url:
        log.warning(
            "SAFELIGHT_PUBLIC_URL is not set: links in webhooks and in output files of batches begin with %s, "
            "which works on this machine only",
            settings.base_url,
        )
    sys.setswitchinterval(SWITCH_SECONDS)
    app.state.context = Context.open(settings)
    with suppress(ValueError, RuntimeError):  # signals belong to the main thread, in which tests have no API
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, app.state.context.catalog_file.read_again)
    app.state.mcp = Protocol()
    yield
    await app.state.mcp.close()
    await app.state.context.close()


def _include_routers(app: FastAPI) -> None:
    # Fixed paths come before /v1/images/{id}.
    for module in (
        openai_images,
        response_routes,
        generate_image,
        job_streams,
        jobs,
        job_events,
        job_reproduction,
        images,
        *BATCHES,
        *WEBUI,
        files,
        webhooks,
        webhook_deliveries,
        fine_tuning,
        models,
        audit_logs,
        keys,
        admin,
        admin_reports,
        admin_bulk,
        usage,
        mcp,
    ):
        app.include_router(module.router, dependencies=[Depends(authenticate), Depends(limit_requests)])
    app.include_router(webui_lists.queue, dependencies=[Depends(authenticate)])
    for open_router in (images.links, health.router, studio.router, guide.router, metrics.router):
        app.include_router(open_router)
