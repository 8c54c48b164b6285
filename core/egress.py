"""Egress: POST requests to URLs of clients, which must not reach the internal network (SSRF).

A host name is resolved once, all its addresses are checked, and the connection goes to one of them. httpcore has no
features that could be misused: it follows no redirect, reads no proxy from the environment, stores no cookie and
decompresses no response. Retries and the meaning of a response are in `worker.webhooks.deliver`.
"""

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore
import httpx

from core.errors import InvalidParameter
from core.settings import Settings

MAX_BODY_BYTES = 8192
"""Bytes of a response body that are read; then the connection is closed."""

MAX_RESPONSE_BYTES = 64 * 1024
"""Bytes of a response, headers included, after which the connection is closed."""

RESOLVE_SECONDS = 5.0
CONNECT_SECONDS = 5.0

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


class DeliveryError(Exception):
    """The delivery failed. `code` is for the delivery log, `message` for the owner."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


class DestinationRefused(DeliveryError):
    """The destination is not allowed. The message does not say what is at the address."""

    def __init__(self, message: str) -> None:
        super().__init__("destination_refused", message)


@dataclass(frozen=True, slots=True)
class Response:
    """A response of a receiver. The body has at most MAX_BODY_BYTES."""

    status: int
    headers: Mapping[str, str]
    body: bytes


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
    """Sends requests to URLs of clients. Thread-safe."""

    def __init__(self, rules: EgressRules, *, resolve: Resolve = look_up, tls: ssl.SSLContext | None = None) -> None:
        self._rules = rules
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()

    @classmethod
    def open(cls, settings: Settings) -> "Egress":
        """Create an instance from the settings."""
        return cls(EgressRules.from_settings(settings))

    def post(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Response:
        """POST a body, in at most `seconds` from the name lookup to the response. Raises DeliveryError."""
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
        backend = _Backend(self, deadline)
        try:
            with (
                httpcore.ConnectionPool(
                    ssl_context=self._tls, network_backend=backend, max_connections=1, http2=False, retries=0
                ) as pool,
                pool.stream("POST", target, headers=request_headers, content=body) as response,
            ):
                return Response(response.status, _decode(response.headers), _read_start(response))
        except httpcore.TimeoutException:
            raise DeliveryError("timeout", "The receiver did not answer in time.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol):
            raise DeliveryError("no_answer", "The connection ended without a valid HTTP response.") from None

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


class _Backend(httpcore.NetworkBackend):
    """Connects to checked addresses. httpcore takes Host and SNI from the URL, so both have the host name."""

    def __init__(self, egress: Egress, deadline: float) -> None:
        self._egress = egress
        self._deadline = deadline
        self._sync_backend = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        for address in self._egress.addresses(host, port, self._deadline):
            with contextlib.suppress(httpcore.ConnectError):
                seconds = min(CONNECT_SECONDS, _remaining(self._deadline, httpcore.ConnectTimeout))
                stream = self._sync_backend.connect_tcp(
                    address, port, timeout=seconds, socket_options=socket_options or ()
                )
                return _Stream(stream, self._deadline)
        raise DeliveryError("connection_failed", "The receiver does not accept connections.")


class _Stream(httpcore.NetworkStream):
    """A connection with one deadline for all operations, and a limit on the bytes that it receives."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline
        self._byte_count = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._byte_count > MAX_RESPONSE_BYTES:
            raise httpcore.ReadError("the response is too long")
        data = self._inner.read(
            min(max_bytes, MAX_BODY_BYTES), timeout=_remaining(self._deadline, httpcore.ReadTimeout)
        )
        self._byte_count += len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), 16384):
            self._inner.write(buffer[start : start + 16384], timeout=_remaining(self._deadline, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = _remaining(self._deadline, httpcore.ConnectTimeout)
        try:
            inner = self._inner.start_tls(ssl_context, server_hostname, timeout=seconds)
        except httpcore.ConnectError as error:
            raise _tls_failed(error.__cause__) from None
        return _Stream(inner, self._deadline)

    def close(self) -> None:
        self._inner.close()

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


_CERTIFICATES = {
    10: ("certificate_expired", "The receiver's certificate has expired."),
    62: ("certificate_wrong_host", "The receiver's certificate is for another host."),
    64: ("certificate_wrong_host", "The receiver's certificate is for another address."),
}
"""Keys are the error numbers in openssl/x509_vfy.h."""


def _tls_failed(cause: BaseException | None) -> DeliveryError:
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return DeliveryError("tls_failed", "The TLS handshake with the receiver failed.")
    default = ("certificate_untrusted", "The receiver's certificate is not signed by a known authority.")
    return DeliveryError(*_CERTIFICATES.get(cause.verify_code, default))


def _remaining(deadline: float, timeout_error: type[httpcore.TimeoutException]) -> float:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise timeout_error("the time is up")
    return seconds


def _read_start(response: httpcore.Response) -> bytes:
    """The first bytes of a response body. The status is used even if the rest does not arrive."""
    body = b""
    with contextlib.suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        for chunk in response.iter_stream():
            body += chunk
            if len(body) >= MAX_BODY_BYTES:
                break
    return body[:MAX_BODY_BYTES]


def _decode(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


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
