"""Names of this API: which values of the header `Host` are this machine's own.

While keys are off, only these are answered. A web page can make its own name resolve to a loopback address (DNS
rebinding); its requests still have its name in `Host`.
"""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from core.settings.http import HttpSettings, is_loopback

MAX_CACHED = 256


class OwnHosts:
    """The hosts that this API answers to without a key."""

    def __init__(self, settings: HttpSettings) -> None:
        self._names = {settings.host.lower()}
        self._origins: set[str] = set()
        if settings.public_url:
            public = urlsplit(settings.public_url)
            self._names.add(public.hostname or "")
            self._origins.add(public.netloc.lower())
        self._listens_everywhere = settings.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
        self._cache: dict[bytes, bool] = {}

    def has(self, header: bytes) -> bool:
        """Whether a `Host` is a loopback name, the configured host, or the host of public_url."""
        is_own = self._cache.get(header)
        if is_own is None:
            is_own = self._is_own(header)
            if len(self._cache) < MAX_CACHED:
                self._cache[header] = is_own
        return is_own

    def is_same_origin(self, origin: bytes, hosts: Iterable[bytes]) -> bool:
        """Whether an `Origin` is the API's own: the host and port of the request, or those of public_url."""
        netloc = origin.decode("latin-1").lower().partition("://")[2]
        names = (host.decode("latin-1").lower() for host in hosts)
        return netloc != "" and (netloc in names or netloc in self._origins)

    def _is_own(self, header: bytes) -> bool:
        name = host_name(header)
        if name in self._names or is_loopback(name):
            return True
        # Listening on all addresses, this machine has addresses that are not configured. Rebinding needs a name.
        return self._listens_everywhere and _is_address(name)


def host_name(header: bytes) -> str:
    """The name or address in a `Host`, without its port and without the brackets of IPv6; empty if it has none."""
    text = header.decode("latin-1").lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
