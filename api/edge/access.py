"""An API without keys is for the programs of this machine.

While keys are off, it refuses what other machines and web pages can send: requests through a proxy, with a
foreign `Host`, or from a page of another site that SAFELIGHT_CORS_ORIGINS does not list. With `auth=auto`, a request
through a proxy or with a foreign `Host` is answered if it has an API key: `scope["needs_key"]` says so to the route.
"""

from dataclasses import dataclass

from starlette.types import Scope

from api.credentials import api_key
from api.edge import content_type
from api.edge.host import OwnHosts, host_name
from api.studio import session
from core.errors import CrossSite, HostNotAllowed, SafelightError, Unauthorized
from core.settings import Settings
from core.settings.addresses import ANY_ORIGIN

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""Load balancers ask these under any name, and the responses say nothing about jobs."""

PROXY_HEADERS = frozenset({b"forwarded", b"via", b"x-real-ip"})
COOKIE = session.COOKIE.encode()
OWN_SITE = frozenset({b"", b"same-origin", b"none"})
"""Values of `Sec-Fetch-Site` for the API's own pages, and for what a person typed."""

SAFE_METHODS = ("GET", "HEAD")

THROUGH_PROXY = (
    "This request came through a proxy, so it needs an API key although keys are off for the programs of this machine. "
    "Set SAFELIGHT_PUBLIC_URL to the proxy's URL: then every request needs a key."
)


@dataclass(slots=True)
class Source:
    """What the headers of a request say about where it comes from."""

    host: bytes = b""
    forwarded_host: bytes | None = None
    origin: bytes | None = None
    site: bytes = b""
    mode: bytes = b""
    content_type: bytes = b""
    is_proxied: bool = False
    has_key: bool = False
    has_session: bool = False

    @property
    def hosts(self) -> list[bytes]:
        """The names under which the request came to the API, and to a trusted proxy before it."""
        return [self.host] if self.forwarded_host is None else [self.host, self.forwarded_host]


class Access:
    """Decides which requests need a key, and refuses those from elsewhere while keys are off."""

    def __init__(self, settings: Settings) -> None:
        self._needs_key = settings.needs_key
        self._is_off = settings.auth == "off"
        self._hosts = OwnHosts(settings)
        self._origins = settings.allowed_origins

    def check(self, scope: Scope) -> SafelightError | None:
        """Set `scope["needs_key"]`. Returns the error for a request that keys would have to protect."""
        scope["needs_key"] = self._needs_key
        return None if self._needs_key else self._check(scope)

    def _check(self, scope: Scope) -> SafelightError | None:
        if scope["path"] in OPEN_PATHS:
            return None
        source = _source(scope)
        is_foreign = not self._hosts.has(source.host)
        if self._is_off:
            # A page may send any header to its own site, so the name that a proxy passes on does not replace `Host`.
            is_foreign = not all(self._hosts.has(host) for host in source.hosts)
            return _foreign_host(source) if is_foreign else self._check_site(scope, source)
        if not is_foreign and not source.is_proxied:
            return self._check_site(scope, source)
        scope["needs_key"] = True
        if source.has_key or source.has_session or _is_signed_link(scope) or _is_studio(scope):
            return None
        return _foreign_host(source) if is_foreign else Unauthorized(THROUGH_PROXY)

    def _check_site(self, scope: Scope, source: Source) -> SafelightError | None:
        """The error for a request of a page of another site. Following a link, and loading a signed link, are allowed.

        So is a page of a listed origin. `*` lists none: any page that a person of this machine opens could use the API.
        Old browsers do not say which site a page is from. They send JSON only after they have asked for permission,
        which this API does not give.
        """
        is_read = scope["method"] in SAFE_METHODS
        if source.origin is not None and not self._hosts.is_same_origin(source.origin, source.hosts):
            if source.origin.decode("latin-1").lower() in self._origins:
                return None if is_read else _wrong_type(source)
            if ANY_ORIGIN in self._origins and source.has_key and not self._is_off:
                scope["needs_key"] = True
                return None
            return CrossSite()
        if source.site in OWN_SITE:
            return None if is_read else _wrong_type(source)
        is_link = source.mode == b"navigate" or b"signature=" in scope["query_string"]
        return None if is_read and is_link else CrossSite()


def _is_signed_link(scope: Scope) -> bool:
    """Whether a request is for an image by a link whose signature the route checks."""
    is_signed = b"signature=" in scope["query_string"] and scope["path"].endswith("/content")
    return is_signed and scope["method"] in SAFE_METHODS


def _is_studio(scope: Scope) -> bool:
    """Whether a request is for the studio's page, its files, or signing in. They say nothing about jobs."""
    path: str = scope["path"]
    return path == "/" or path.startswith("/studio/")


def _source(scope: Scope) -> Source:
    forwarded_host: str | None = scope["forwarded_host"]
    source = Source(forwarded_host=None if forwarded_host is None else forwarded_host.encode())
    for name, value in scope["headers"]:
        if name == b"host":
            source.host = value
        elif name == b"authorization":
            source.has_key = bool(api_key(value.decode("latin-1")))
        elif name == b"cookie":
            source.has_session = COOKIE in value
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
    name = host_name(source.hosts[-1])[:253]
    return HostNotAllowed(
        f"API keys are off, so only the programs of this machine may use this API, and {name!r} is not a name of this "
        "machine. Use 127.0.0.1 or localhost, or set SAFELIGHT_PUBLIC_URL to the URL that clients use."
    )
