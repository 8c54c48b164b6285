"""Checks of settings that are addresses: the public URL, a path, networks of proxies, origins of web pages."""

import ipaddress
import re
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PATH = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
"""A path that is safe at the start of every link: no empty segment, no dots alone, nothing to quote."""

ANY_ORIGIN = "*"

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s*]+")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def check_public_url(url: str | None) -> str | None:
    """Raises ValueError if clients cannot use the URL as the start of a link."""
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError:
        port_is_valid = False
    if not port_is_valid or parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
        raise ValueError("it must be a URL with a host, such as https://images.example.com")
    if "?" in url or "#" in url or "@" in parts.netloc or " " in url:
        raise ValueError("it must have no query, no fragment, no user and no space; a path is allowed")
    check_path(parts.path)
    return url.rstrip("/")


def check_path(path: str) -> str:
    """The path without a slash at its end. Raises ValueError if no link can begin with it."""
    path = path.rstrip("/")
    if not PATH.fullmatch(path):
        raise ValueError("the path must be like /safelight: a slash, then letters, digits and -._~")

    if path.endswith("/v1"):
        raise ValueError("the path must not end with /v1: the paths of the API begin with it already")
    return path


def check_networks(text: str) -> str:
    """Raises ValueError if an entry is neither an IP address nor a network."""
    networks_of(text)
    return text


def networks_of(text: str) -> tuple[Network, ...]:
    """The networks of a list, separated by commas; an address is a network of its own."""
    return tuple(_network(entry.strip()) for entry in text.split(",") if entry.strip())


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        raise ValueError(
            f"{entry!r} is no IP address, and no network whose last bits are 0, such as 10.1.2.0/24"
        ) from None


def check_origins(text: str) -> str:
    """Raises ValueError if an entry is no origin."""
    origins_of(text)
    return text


def origins_of(text: str) -> frozenset[str]:
    """The origins of a list, separated by commas, as a browser sends them."""
    return frozenset(_origin(entry.strip()) for entry in text.split(",") if entry.strip())


def _origin(entry: str) -> str:
    if entry == ANY_ORIGIN:
        return entry
    origin = entry.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(
            f"{entry!r} is no origin: it must be a scheme and a host, such as https://app.example.com, without a path; "
            "or `*` for all"
        )
    return origin.removesuffix(_DEFAULT_PORTS.get(origin.partition(":")[0], "/"))
