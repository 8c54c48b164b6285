"""An API without keys is for the programs of this machine.

While keys are off, this middleware refuses what other machines and web pages can send: requests through a proxy, with a
foreign `Host`, or from a page of another site. With `auth=auto`, a request through a proxy or with a foreign `Host` is
answered if it has an API key: `scope["needs_key"]` says so to the route.
"""

from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.credentials import api_key
from api.edge import content_type
from api.edge.host import OwnHosts, host_name
from api.edge.refusals import refusals
from api.errors import render
from core.errors import CrossSite, HostNotAllowed, SafelightError, Unauthorized
from core.settings import Settings

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Load balancers ask these under any name, and the responses say nothing about jobs."""

PROXY_HEADERS = frozenset({b"forwarded", b"via", b"x-real-ip"})
OWN_SITE = frozenset({b"", b"same-origin", b"none"})
"""Values of `Sec-Fetch-Site` for the API's own pages, and for what a person typed."""

THROUGH_PROXY = (
    "This request came through a proxy, so it needs an API key although keys are off for the programs of this machine. "
    "Set SAFELIGHT_PUBLIC_URL to the proxy's URL: then every request needs a key."
)


@dataclass(slots=True)
class Source:
    """What the headers of a request say about where it comes from."""

    host: bytes = b""
    origin: bytes | None = None
    site: bytes = b""
    mode: bytes = b""
    content_type: bytes = b""
    is_proxied: bool = False
    has_key: bool = False


class Access:
    """ASGI middleware. Sets `scope["needs_key"]`; while keys are off, it refuses requests from elsewhere."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self._prefix = settings.prefix
        self._needs_key = settings.needs_key
        self._is_off = settings.auth == "off"
        self._hosts = OwnHosts(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle the request, or refuse it."""
        if scope["type"] == "http":
            scope["needs_key"] = self._needs_key
            if self._prefix:
                scope["root_path"] = self._prefix  # for the links in /docs
                send = _with_prefix(send, self._prefix)
            if not self._needs_key and (error := self._check(scope)) is not None:
                refusals.record(error.code, "%s %s: %s", scope["method"], scope["path"], error.message)
                await render(error, scope["path"])(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _check(self, scope: Scope) -> SafelightError | None:
        """The error for a request that keys would have to protect."""
        if scope["path"] in OPEN_PATHS:
            return None
        source = _source(scope)
        is_foreign = not self._hosts.has(source.host)
        if self._is_off:
            return _foreign_host(source) if is_foreign else self._check_site(scope, source)
        if not is_foreign and not source.is_proxied:
            return self._check_site(scope, source)
        scope["needs_key"] = True
        if source.has_key:
            return None
        return _foreign_host(source) if is_foreign else Unauthorized(THROUGH_PROXY)

    def _check_site(self, scope: Scope, source: Source) -> SafelightError | None:
        """The error for a request of a page of another site. Following a link, and loading a signed link, are allowed.

        Old browsers do not say which site a page is from. They send JSON only after they have asked for permission,
        which this API does not give.
        """
        if source.origin is not None and not self._hosts.is_same_origin(source.origin, source.host):
            return CrossSite()
        if source.site in OWN_SITE:
            return None if scope["method"] == "GET" else _wrong_type(source)
        is_link = source.mode == b"navigate" or b"signature=" in scope["query_string"]
        return None if scope["method"] == "GET" and is_link else CrossSite()


def _with_prefix(send: Send, prefix: str) -> Send:
    """Let a `Location` begin with the path under which a proxy serves the API."""

    async def send_with_prefix(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if headers.get("location", "").startswith("/"):
                headers["location"] = prefix + headers["location"]
        await send(message)

    return send_with_prefix


def _source(scope: Scope) -> Source:
    source = Source()
    for name, value in scope["headers"]:
        if name == b"host":
            source.host = value
        elif name == b"authorization":
            source.has_key = bool(api_key(value.decode("latin-1")))
        elif name == b"origin":
            source.origin = value
        elif name == b"content-type":
            source.content_type = value
        elif name == b"sec-fetch-site":
            source.site = value
        elif name == b"sec-fetch-mode":
            source.mode = value
        elif name in PROXY_HEADERS or name.startswith(b"x-forwarded-"):
            source.is_proxied = True
    return source


def _wrong_type(source: Source) -> SafelightError | None:
    """For calls that read no body, such as a cancel; the others check their own type."""
    try:
        content_type.check(source.content_type.decode("latin-1"), content_type.JSON, content_type.MULTIPART)
    except SafelightError as error:
        return error
    return None


def _foreign_host(source: Source) -> SafelightError:
    name = host_name(source.host)[:253]
    return HostNotAllowed(
        f"API keys are off, so only the programs of this machine may use this API, and {name!r} is not a name of this "
        "machine. Use 127.0.0.1 or localhost, or set SAFELIGHT_PUBLIC_URL to the URL that clients use."
    )
