"""The ASGI application: `uvicorn api.app:create_app --factory`."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline

from api import errors, files, generate_image, health, images, models, openapi
from api.batches import downloads as batch_downloads
from api.batches import events as batch_events
from api.batches import routes as batches
from api.context import Context
from api.deps import plain_address
from api.jobs import events as job_events
from api.jobs import routes as jobs
from api.openai import images as openai_images
from api.request_id import RequestId
from api.webhooks import routes as webhooks
from core.settings import Settings

log = logging.getLogger(__name__)

DESCRIPTION = """
Image generation as durable jobs. Post a prompt, get a job at once; poll it, wait for it (`?wait=30`), or follow its
events. The images calls speak OpenAI's dialect, so the official SDKs are clients.

Every error has OpenAI's shape, `{"error": {"message", "type", "param", "code"}}`, and every answer an `x-request-id`.
"""


BATCHES = (batches, batch_events, batch_downloads)

TAGS = [
    {"name": "jobs", "description": "A request for n images: submitted, followed, cancelled, tried again."},
    {"name": "images", "description": "The images, and OpenAI's synchronous call."},
    {"name": "batches", "description": "Many prompts at once: OpenAI's Batch API, and two shorter ways in."},
    {"name": "files", "description": "What jobs begin with, and what batches read and write: OpenAI's Files."},
    {"name": "webhooks", "description": "Who is told of events; OpenAI's webhook endpoints, and their deliveries."},
    {"name": "models", "description": "What can be asked for."},
    {"name": "health", "description": "For load balancers and operators."},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application from settings, by default the environment's."""
    settings = settings or Settings()
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        if not settings.needs_key:
            log.warning("API keys are OFF: whoever reaches %s:%s may use it", settings.host, settings.port)
        app.state.context = Context.open(settings)
        app.state.known_keys = {}
        yield
        await app.state.context.close()

    app = FastAPIOffline(  # /docs works without an internet
        title="Safelight",
        version=version("safelight"),
        summary="Self-hosted, asynchronous image generation.",
        description=DESCRIPTION,
        lifespan=lifespan,
        dependencies=[Depends(plain_address)],
        license_info={"name": "Apache-2.0"},
        openapi_tags=TAGS,
        generate_unique_id_function=lambda route: "_".join([*map(str, route.tags), route.name]),
    )
    app.add_middleware(RequestId)
    errors.install(app)
    # Fixed paths before /v1/images/{id}.
    for module in (openai_images, generate_image, jobs, job_events, images, *BATCHES, files, webhooks, models, health):
        app.include_router(module.router)
    webhooks.describe(app)

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("/docs")

    app.openapi = lambda: openapi.describe(app, needs_key=settings.needs_key)  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app
