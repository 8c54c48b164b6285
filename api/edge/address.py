"""The address of this API as the client of a request knows it: scheme, host, and the path of a proxy.

Links in the response begin with it, as `scope["base_url"]`. It is SAFELIGHT_PUBLIC_URL if that is set; else what a
trusted proxy says, or the request's own `Host`. A caller can choose it for its own response only: what is stored, and
what other callers or webhooks get, never begins with the address of a request.
"""

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Scope, Send

from api.edge.forwarded import HOST, Forwarded, TrustedProxies
from core.settings import Settings


class Address:
    """Reads the addresses of requests."""

    def __init__(self, settings: Settings) -> None:
        self._public_url = settings.public_url
        self._default = settings.base_url
        self._prefix = settings.prefix
        self._proxies = TrustedProxies(settings.trusted_networks)

    def read(self, scope: Scope) -> None:
        """Set `base_url`, `prefix`, `forwarded_host`, `scheme` and `client` in the scope of a request.

        The path is then without the prefix, whether the proxy strips it or not; `add_prefix` puts it back.
        """
        peer = scope["client"][0] if scope.get("client") else ""
        forwarded = self._proxies.read(peer, scope["headers"])
        prefix = scope["prefix"] = self._prefix or ("" if self._public_url else forwarded.prefix)
        scope["base_url"] = self._public_url or self._url(scope, forwarded, prefix)
        scope["forwarded_host"] = forwarded.host
        if forwarded.scheme is not None:
            scope["scheme"] = forwarded.scheme
        if forwarded.client is not None:
            scope["client"] = (forwarded.client, 0)
        if prefix:
            _strip(scope, prefix)

    def _url(self, scope: Scope, forwarded: Forwarded, prefix: str) -> str:
        host = forwarded.host or Headers(scope=scope).get("host", "")
        if not HOST.fullmatch(host):
            return self._default
        return f"{forwarded.scheme or scope['scheme']}://{host}{prefix}"


def add_prefix(scope: Scope, send: Send) -> tuple[Scope, Send]:
    """Scope and `send` for the router: the path begins with `root_path`, as ASGI wants it."""
    prefix = scope["prefix"]
    path, raw_path = prefix + scope["path"], prefix.encode() + scope["raw_path"]
    inner_scope = {**scope, "root_path": prefix, "path": path, "raw_path": raw_path}
    return inner_scope, _with_route(send, inner_scope, scope)


def api_path(request: Request) -> str:
    """The path of a request without the prefix: the same through every proxy."""
    path: str = request.scope["path"]
    return path.removeprefix(request.scope["prefix"])


def _strip(scope: Scope, prefix: str) -> None:
    """Remove a prefix that the proxy has left in the path."""
    path = scope["path"]
    if path == prefix or path.startswith(f"{prefix}/"):
        scope["path"] = path[len(prefix) :] or "/"
        if scope["raw_path"].startswith(prefix.encode()):
            scope["raw_path"] = scope["raw_path"][len(prefix) :] or b"/"


def _with_route(send: Send, scope: Scope, outer_scope: Scope) -> Send:
    """Tell the outer middleware which route has answered."""

    async def send_with_route(message: Message) -> None:
        if "route" in scope:
            outer_scope["route"] = scope["route"]
        await send(message)

    return send_with_route
