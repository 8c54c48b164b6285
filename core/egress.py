"""Egress: POST requests to URLs of clients, which must not reach the internal network (SSRF).

For each request a host name is resolved once, all its addresses are checked, and the connection goes to one of them,
also where it is open already (`core.connections`). httpcore has no features that could be misused: it follows no
redirect, reads no proxy from the environment, stores no cookie and decompresses no response. Retries and the meaning of
a response are in `worker.webhooks`.
"""

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache

import httpcore
import httpx

from core.connections import Connection, DeliveryError, IdleConnections, Response, StaleConnection, connect
from core.errors import InvalidParameter
from core.settings import Settings

RESOLVE_SECONDS = 5.0

DEFAULT_PORTS = (80, 443)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

# In addition to `is_global`, which differs between patch releases of Python and accepts these.
_BLOCKLIST = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's metadata and DNS: a public address that only works inside Azure
            "192.0.0.0/24",  # IETF protocol assignments; Oracle's metadata
            "192.88.99.0/24",  # 6to4 relays
            "2001::/23",  # Teredo and other protocol assignments
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: holds any IPv4 address
            "3fff::/20",  # documentation
        ),
    )
)
_UNICAST6 = ipaddress.IPv6Network("2000::/3")
"""All global unicast addresses. NAT64, IPv4-compatible, segment routing and site-local addresses are not in it."""


class DestinationRefused(DeliveryError):
    """The destination is not allowed. The message does not say what is at the address."""

    def __init__(self, message: str) -> None:
        super().__init__("destination_refused", message)


@dataclass(frozen=True, slots=True)
class EgressRules:
    """What the operator allows: internal destinations by name or network, and ports of public destinations."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset(DEFAULT_PORTS)

    @classmethod
    def from_settings(cls, settings: Settings) -> "EgressRules":
        """Read the rules from the settings."""
        return cls.parse(settings.egress_allow, settings.egress_ports)

    @classmethod
    @cache
    def parse(cls, words: str | None, ports: str = "80, 443") -> "EgressRules":
        """Parse a comma-separated list of names, addresses and CIDRs. Raises ValueError."""
        names, networks = set(), []
        for word in filter(None, (part.strip().lower() for part in (words or "").split(","))):
            try:
                networks.append(ipaddress.ip_network(word))
            except ValueError:
                if "/" in word or ":" in word or _looks_numeric(word):
                    raise ValueError(f"{word!r} is not a host name, an address or a CIDR such as 10.1.0.0/16") from None
                names.add(word)
        return cls(frozenset(names), tuple(networks), frozenset(map(int, ports.split(","))))

    def may_allow(self, host: str) -> bool:
        """Whether a host name can be allowed, before its addresses are known."""
        return host in self.names or bool(self.networks)

    def allows(self, host: str, address: Address) -> bool:
        """Whether an address is allowed, by itself or as an address of a host name."""
        return host in self.names or any(address in network for network in self.networks)


def is_public(address: Address) -> bool:
    """Whether an address is on the public Internet, and not a tunnel to another address."""
    address = _without_mapping(address)
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST6:
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _BLOCKLIST)


def check(url: str, rules: EgressRules) -> httpx.URL:
    """Check a URL without a name lookup. Raises DestinationRefused; its message continues the name of a field."""
    try:
        destination = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        raise DestinationRefused("is not a valid URL") from None
    host = destination.raw_host.decode("ascii").lower().strip("[]")
    if destination.scheme not in ("http", "https"):
        raise DestinationRefused("must begin with https:// or http://")
    if destination.userinfo:
        raise DestinationRefused("must not contain a user name or a password")
    if not host or host.endswith("."):
        raise DestinationRefused("must have a host name without a trailing dot")
    address = _address(host)
    if address is None and _looks_numeric(host):
        raise DestinationRefused("must not have a number as its host; write the address as a.b.c.d")
    if destination.port is not None and not 1 <= destination.port <= 65_535:
        raise DestinationRefused("must have a port from 1 to 65535")
    port = destination.port or (443 if destination.scheme == "https" else 80)
    if address is None and (host == "localhost" or host.endswith(".localhost")):
        address = ipaddress.IPv4Address("127.0.0.1")
    if address is not None:
        _require(host, address, port, rules)
    elif port not in rules.ports and (port < 1024 or not rules.may_allow(host)):
        raise _port_error(rules)
    return destination


def _require(host: str, address: Address, port: int, rules: EgressRules) -> None:
    """Check an address. An allowed internal destination may use any port from 1024 on. Raises DestinationRefused."""
    address = _without_mapping(address)
    is_allowed = rules.allows(host, address)
    if not is_public(address) and not is_allowed:
        raise DestinationRefused("is not a public address; the operator can allow it with SAFELIGHT_EGRESS_ALLOW")
    if port not in rules.ports and (port < 1024 or not is_allowed):
        raise _port_error(rules)


def _port_error(rules: EgressRules) -> DestinationRefused:
    ports = ", ".join(map(str, sorted(rules.ports)))
    return DestinationRefused(
        f"must use one of the ports {ports}; the operator can allow others with SAFELIGHT_EGRESS_PORTS"
    )


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a host name, from the system's resolver."""
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


class Egress:
    """Sends requests to URLs of clients. Thread-safe.

    idle: connections to use again; None: a new connection for each request. They belong to the caller.
    """

    def __init__(
        self,
        rules: EgressRules,
        *,
        resolve: Resolve = look_up,
        tls: ssl.SSLContext | None = None,
        idle: IdleConnections | None = None,
    ) -> None:
        self._rules = rules
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self._idle = idle

    @classmethod
    def open(cls, settings: Settings, idle: IdleConnections | None = None) -> "Egress":
        """Create an instance from the settings."""
        return cls(EgressRules.from_settings(settings), idle=idle)

    def post(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Response:
        """POST a body, in at most `seconds` from the name lookup to the response. Raises DeliveryError.

        The request may arrive twice: where a connection that was used before breaks, it is sent on a new one.
        """
        deadline = time.monotonic() + seconds
        destination = check(url, self._rules)
        target = httpcore.URL(
            scheme=destination.raw_scheme,
            host=destination.raw_host,
            port=destination.port,
            target=destination.raw_path or b"/",
        )
        request_headers = [
            (b"Host", destination.netloc),
            (b"Accept-Encoding", b"identity"),
            (b"Content-Length", str(len(body)).encode()),
            *((name.encode(), value.encode()) for name, value in headers.items()),
        ]
        request = httpcore.Request("POST", target, headers=request_headers, content=body)
        try:
            return self._send(request, deadline)
        except httpcore.TimeoutException:
            raise DeliveryError("timeout", "The receiver did not answer in time.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol):
            raise DeliveryError("no_answer", "The connection ended without a valid HTTP response.") from None

    def _send(self, request: httpcore.Request, deadline: float) -> Response:
        """Send a request to a checked address, on an open connection if there is one."""
        origin = request.url.origin
        host = origin.host.decode("ascii")
        addresses = self.addresses(host, origin.port, deadline)  # also for an open connection: it must still be allowed
        while self._idle is not None and (connection := self._idle.take(origin, addresses)) is not None:
            with contextlib.suppress(StaleConnection):
                return self._exchange(connection, request, deadline)
        connection = connect(origin, host, addresses, origin.port, self._tls, deadline)
        return self._exchange(connection, request, deadline)

    def _exchange(self, connection: Connection, request: httpcore.Request, deadline: float) -> Response:
        try:
            response = connection.send(request, deadline)
        except BaseException:
            connection.close()
            raise
        if self._idle is not None and connection.is_usable:
            self._idle.add(connection)
        else:
            connection.close()
        return response

    def addresses(self, host: str, port: int, deadline: float) -> list[str]:
        """The addresses of a host, if all are allowed. Raises DeliveryError."""
        literal = _address(host)
        addresses = [str(literal)] if literal else self._resolve_once(host, port, deadline)
        for text in addresses:
            address = _address(text)
            if address is None:
                raise DestinationRefused("has an address that is not allowed")
            _require(host, address, port, self._rules)
        return addresses

    def _resolve_once(self, host: str, port: int, deadline: float) -> list[str]:
        """Resolve a name once, in a thread, because a lookup cannot be cancelled."""
        answer: Future[list[str]] = Future()

        def resolve() -> None:
            try:
                answer.set_result(list(self._resolve(host, port)))
            except (OSError, UnicodeError) as error:
                answer.set_exception(error)

        threading.Thread(target=resolve, name="look-up", daemon=True).start()
        try:
            addresses = answer.result(max(0.0, min(RESOLVE_SECONDS, deadline - time.monotonic())))
        except TimeoutError:
            raise DeliveryError("timeout", "The host name could not be resolved in time.") from None
        except (OSError, UnicodeError):
            addresses = []
        if not addresses:
            raise DeliveryError("name_not_found", "The host name has no address.")
        return addresses


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def _without_mapping(address: Address) -> Address:
    ipv4 = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return ipv4 or address


def _looks_numeric(host: str) -> bool:
    """Whether a host ends in a number, so that it may be read as an IPv4 address: 127.1, 0x7f.1, 2130706433."""
    last = host.rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")


def check_destination(url: str, settings: Settings, param: str) -> None:
    """Check a webhook URL as far as possible without a name lookup. Raises InvalidParameter."""
    try:
        check(url, EgressRules.from_settings(settings))
    except DestinationRefused as error:
        raise InvalidParameter(f"{param} {error.message}.", param=param) from None
