"""What proxies say about their client: `X-Forwarded-*`, or RFC 7239's `Forwarded`.

Anyone can send these headers, so only those of a trusted proxy are read. A proxy appends what it saw to the end of a
list: an entry is true if it was written by a trusted proxy, which holds while all addresses after it are trusted.
"""

import ipaddress
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from core.settings.addresses import PATH, Network

log = logging.getLogger(__name__)

MAX_PROXIES = 16
"""Proxies in a row whose entries are read."""

HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:[0-9]{1,5})?")
"""A host with or without a port that is safe in a URL. Its length is bounded: a response may have hundreds of links."""

MAX_PREFIX = 200
"""Characters of the path of a proxy, for the same reason."""

_FOR, _PROTO, _HOST, _PORT, _PREFIX, _STANDARD = (
    b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-port", b"x-forwarded-prefix",
    b"forwarded",
)  # fmt: skip
_NAMES = frozenset({_FOR, _PROTO, _HOST, _PORT, _PREFIX, _STANDARD})
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_PAIR = re.compile(r'([A-Za-z]{1,16}+)[ \t]?=[ \t]?(?:"((?:[^"\\]|\\.)*+)"|([^\s",;]*+))|([,;])')
"""Each repetition is bounded or gives nothing back, so that the time is in proportion to the length of the text."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What trusted proxies say. None or empty where they say nothing, or nothing that is valid."""

    client: str | None = None
    scheme: str | None = None
    host: str | None = None
    prefix: str = ""


SAYS_NOTHING = Forwarded()


class TrustedProxies:
    """The proxies whose headers are read."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)
        self._trusts = lru_cache(maxsize=1024)(self._is_inside)
        self._has_warned = False

    def read(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> Forwarded:
        """What a request says that came from the address `peer`. Nothing if it is not a trusted proxy."""
        lines: dict[bytes, str] = {}
        for name, value in headers:
            if name in _NAMES:
                text = value.decode("latin-1")
                lines[name] = f"{lines[name]},{text}" if name in lines else text
        if not lines:
            return SAYS_NOTHING
        if not self._trusts(peer):
            self._warn(peer, lines)
            return SAYS_NOTHING
        return self._interpret(lines)

    def _interpret(self, lines: Mapping[bytes, str]) -> Forwarded:
        if _STANDARD in lines and not {_FOR, _PROTO, _HOST} & lines.keys():
            clients, schemes, hosts = _parse_standard(lines[_STANDARD])
        else:
            clients, schemes, hosts = (_items(lines.get(name, "")) for name in (_FOR, _PROTO, _HOST))
        depth = self._depth(clients)
        scheme = _pick(schemes, depth).lower()
        scheme = scheme if scheme in _DEFAULT_PORTS else ""
        host, port = _pick(hosts, depth), _pick(_items(lines.get(_PORT, "")), depth)
        if not HOST.fullmatch(host):
            host = ""
        elif _has_no_port(host) and port.isascii() and port.isdigit() and port != _DEFAULT_PORTS.get(scheme or "http"):
            host = f"{host}:{port[:5]}"
        prefix = lines.get(_PREFIX, "").strip().rstrip("/")
        return Forwarded(
            client=_address(_pick(clients, depth)),
            scheme=scheme or None,
            host=host or None,
            prefix=prefix if len(prefix) <= MAX_PREFIX and PATH.fullmatch(prefix) else "",
        )

    def _depth(self, clients: Sequence[str]) -> int:
        """How many entries, counted from the end, were written by trusted proxies."""
        depth = 1
        while depth < min(len(clients), MAX_PROXIES):
            address = _address(clients[-depth])
            if address is None or not self._trusts(address):
                break
            depth += 1
        return depth

    def _is_inside(self, address: str) -> bool:
        canonical = _address(address)
        if canonical is None:
            return False
        return any(ipaddress.ip_address(canonical) in network for network in self._networks)

    def _warn(self, peer: str, lines: Mapping[bytes, str]) -> None:
        """Say once why links do not follow a proxy."""
        if not self._has_warned:
            self._has_warned = True
            names = ", ".join(sorted(name.decode() for name in lines))
            log.warning("ignored %s of %s: this address is not in SAFELIGHT_TRUSTED_PROXIES", names, peer)


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")] if text else []


def _pick(items: Sequence[str], depth: int) -> str:
    """The entry at `depth` from the end; the first if there are fewer, as a proxy may replace a list."""
    return items[-min(depth, len(items))] if items else ""


def _parse_standard(text: str) -> tuple[list[str], list[str], list[str]]:
    """The values of `for`, `proto` and `host` of each element of a `Forwarded`; empty where one is missing."""
    elements: list[dict[str, str]] = [{}]
    for name, string, token, separator in _PAIR.findall(text):
        if separator == ",":
            elements.append({})
        elif not separator:
            elements[-1][name.lower()] = re.sub(r"\\(.)", r"\1", string) or token
    clients, schemes, hosts = ([element.get(name, "") for element in elements] for name in ("for", "proto", "host"))
    return clients, schemes, hosts


def _address(text: str) -> str | None:
    """The IP address in `192.0.2.1:80` or `[2001:db8::1]:80`. None if it is another name for the client."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address)


def _has_no_port(host: str) -> bool:
    return host.endswith("]") or ":" not in host
