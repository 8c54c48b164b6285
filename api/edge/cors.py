"""Web pages of other origins: which may call the API, and read its responses (the Fetch standard's CORS).

It is the outermost part of the application, so that a page can read every error. Off unless SAFELIGHT_CORS_ORIGINS is
set. While keys are off, `api/edge/access.py` decides which requests of pages are answered.
"""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from api.errors import render
from core.errors import CrossSite
from core.settings import Settings
from core.settings.addresses import ANY_ORIGIN

METHODS = ("GET", "HEAD", "POST", "DELETE")

EXPOSED = (
    "content-disposition", "etag", "idempotent-replayed", "location", "mcp-session-id", "retry-after", "retry-after-ms",
    "www-authenticate", "x-request-id", "x-safelight-job", "x-safelight-warnings", "x-should-retry",
    *(f"x-ratelimit-{name}-{unit}" for unit in ("requests", "images") for name in ("limit", "remaining", "reset")),
)  # fmt: skip
"""Headers that a page may read beside those that it always may."""


class Cors(CORSMiddleware):
    """ASGI middleware. Pages of listed origins may send credentials; with `*`, no page may."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        origins = settings.allowed_origins
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=METHODS,
            allow_headers=["*"],  # SDKs send many of their own; none of them opens anything
            allow_credentials=ANY_ORIGIN not in origins,
            allow_private_network=True,
            expose_headers=EXPOSED,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser's question whether a page may send a request."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        error = CrossSite("SAFELIGHT_CORS_ORIGINS does not list this origin, or the API has no call with this method.")
        refusal = render(error)
        refusal.headers["vary"] = response.headers["vary"]
        return refusal

    def headers_for(self, origin: str) -> dict[str, str]:
        """The headers of a response that does not come from the application."""
        if not self.is_allowed_origin(origin):
            return {}
        answer_origin = ANY_ORIGIN if self.allow_all_origins else origin
        return self.simple_headers | {"Access-Control-Allow-Origin": answer_origin, "Vary": "Origin"}
