"""The way out: a POST to an address that a stranger chose, which must not reach the network we stand in.

Every address that a name has is checked, and the connection goes to one of those that were checked: a name is resolved
once. What httpcore does not do cannot be misused: it follows no redirect, reads no proxy from the environment, keeps no
cookie and unpacks no answer. Here is no retry and no meaning of an answer; see `worker.webhooks.deliver`.
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
"""Bytes of an answer's body that are read; the connection is closed then."""

MAX_RESPONSE_BYTES = 64 * 1024
"""Bytes of an answer in all, headers included, after which it is broken off."""

RESOLVE_SECONDS = 5.0
CONNECT_SECONDS = 5.0

USUAL_PORTS = (80, 443)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]

# Beyond what `is_global` says, which differs between Python's patch releases and lets these pass.
_DENIED = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's metadata and DNS: a public address that only the inside has
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
"""All that is assigned as global unicast; NAT64, IPv4-compatible, segment routing, site-local lie outside."""


class Unreached(Exception):
    """Nothing was delivered: a word for the record and a sentence for the owner."""

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


class Refused(Unreached):
    """The address is not one that may be written to. The sentence never says what lies there."""

    def __init__(self, message: str) -> None:
        super().__init__("destination_refused", message)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. The body is cut off at MAX_BODY_BYTES."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the operator lets through: receivers inside, by name or by network, and the ports of those outside."""

    names: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset(USUAL_PORTS)

    @classmethod
    def by(cls, settings: Settings) -> "Allowed":
        """As the operator set it."""
        return cls.of(settings.egress_allow, settings.egress_ports)

    @classmethod
    @cache
    def of(cls, words: str | None, ports: str = "80, 443") -> "Allowed":
        """Names, addresses and CIDRs, with commas between. Raises ValueError for what is none of them."""
        names, networks = set(), []
        for word in filter(None, (part.strip().lower() for part in (words or "").split(","))):
            try:
                networks.append(ipaddress.ip_network(word))
            except ValueError:
                if "/" in word or ":" in word or _looks_numeric(word):
                    raise ValueError(f"{word!r} is not a host name, an address or a CIDR such as 10.1.0.0/16") from None
                names.add(word)
        return cls(frozenset(names), tuple(networks), frozenset(map(int, ports.split(","))))

    def may_have(self, host: str) -> bool:
        """Whether a name may turn out to be let through, before its addresses are known."""
        return host in self.names or bool(self.networks)

    def has(self, host: str, address: Address) -> bool:
        """Whether an address is let through, as itself or as the address of a name."""
        return host in self.names or any(address in network for network in self.networks)


def is_public(address: Address) -> bool:
    """Whether an address is one that anybody on the Internet may reach, and nothing else by a roundabout way."""
    address = _unmapped(address)
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST6:
        return False
    return address.is_global and not address.is_multicast and not any(address in network for network in _DENIED)


def check(url: str, allowed: Allowed) -> httpx.URL:
    """What can be said of a URL without asking anybody. Raises Refused, with words that follow the URL's name."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        raise Refused("is not a valid URL") from None
    host = parsed.raw_host.decode("ascii").lower().strip("[]")
    if parsed.scheme not in ("http", "https"):
        raise Refused("must begin with https:// or http://")
    if parsed.userinfo:
        raise Refused("must not carry a user name or a password")
    if not host or host.endswith("."):
        raise Refused("must name a host, without a dot at its end")
    address = _address(host)
    if address is None and _looks_numeric(host):
        raise Refused("must not name its host by a number; write the address as a.b.c.d")
    port = parsed.port or (443 if parsed.scheme == "https" else 80)
    if address is None and (host == "localhost" or host.endswith(".localhost")):
        address = ipaddress.IPv4Address("127.0.0.1")
    if address is not None:
        _require(host, address, port, allowed)
    elif port not in allowed.ports and (port < 1024 or not allowed.may_have(host)):
        raise _wrong_port(allowed)
    return parsed


def _require(host: str, address: Address, port: int, allowed: Allowed) -> None:
    """What is let in may listen where it likes, but not where other things than receivers do."""
    address = _unmapped(address)
    is_let_in = allowed.has(host, address)
    if not is_public(address) and not is_let_in:
        raise Refused("is not a public address; the operator can let a receiver in by SAFELIGHT_EGRESS_ALLOW")
    if port not in allowed.ports and (port < 1024 or not is_let_in):
        raise _wrong_port(allowed)


def _wrong_port(allowed: Allowed) -> Refused:
    known = ", ".join(map(str, sorted(allowed.ports)))
    return Refused(f"must name one of the ports {known}; the operator can let others in by SAFELIGHT_EGRESS_PORTS")


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name, as the system knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Egress:
    """Sends to addresses of strangers. Safe to share between threads."""

    def __init__(self, allowed: Allowed, *, resolve: Resolve = look_up, tls: ssl.SSLContext | None = None) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()

    @classmethod
    def open(cls, settings: Settings) -> "Egress":
        """As the operator set it."""
        return cls(Allowed.by(settings))

    def post(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Answer:
        """POST a body; all of it, name look-up and answer included, takes at most `seconds`. Raises Unreached."""
        deadline = time.monotonic() + seconds
        parsed = check(url, self._allowed)
        target = httpcore.URL(
            scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path or b"/"
        )
        sent = [
            (b"Host", parsed.netloc),
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
                pool.stream("POST", target, headers=sent, content=body) as response,
            ):
                return Answer(response.status, _plain(response.headers), _beginning_of(response))
        except httpcore.TimeoutException:
            raise Unreached("timeout", "The receiver did not answer in time.") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol):
            raise Unreached("no_answer", "The connection ended without an answer that is HTTP.") from None

    def addresses(self, host: str, port: int, deadline: float) -> list[str]:
        """The addresses of a host, all of which may be written to. Raises Unreached."""
        literal = _address(host)
        found = [str(literal)] if literal else self._resolved(host, port, deadline)
        for text in found:
            address = _address(text)
            if address is None:
                raise Refused("has an address that may not be written to")
            _require(host, address, port, self._allowed)
        return found

    def _resolved(self, host: str, port: int, deadline: float) -> list[str]:
        """Ask for a name's addresses once, in a thread, as a look-up cannot be called off."""
        answer: Future[list[str]] = Future()

        def ask() -> None:
            try:
                answer.set_result(list(self._resolve(host, port)))
            except (OSError, UnicodeError) as error:
                answer.set_exception(error)

        threading.Thread(target=ask, name="look-up", daemon=True).start()
        try:
            found = answer.result(max(0.0, min(RESOLVE_SECONDS, deadline - time.monotonic())))
        except TimeoutError:
            raise Unreached("timeout", "The host's name could not be looked up in time.") from None
        except (OSError, UnicodeError):
            found = []
        if not found:
            raise Unreached("name_not_found", "The host's name has no address.")
        return found


class _Backend(httpcore.NetworkBackend):
    """Connects to addresses that were checked. httpcore takes Host and SNI from the URL, so both name the host."""

    def __init__(self, egress: Egress, deadline: float) -> None:
        self._egress = egress
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

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
                seconds = min(CONNECT_SECONDS, _left(self._deadline, httpcore.ConnectTimeout))
                stream = self._plain.connect_tcp(address, port, timeout=seconds, socket_options=socket_options or ())
                return _Stream(stream, self._deadline)
        raise Unreached("connection_failed", "The receiver does not take connections.")


class _Stream(httpcore.NetworkStream):
    """A connection with one deadline for all that is done on it, and an end to what it receives."""

    def __init__(self, inner: httpcore.NetworkStream, deadline: float) -> None:
        self._inner = inner
        self._deadline = deadline
        self._received = 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._received > MAX_RESPONSE_BYTES:
            raise httpcore.ReadError("too long an answer")
        data = self._inner.read(min(max_bytes, MAX_BODY_BYTES), timeout=_left(self._deadline, httpcore.ReadTimeout))
        self._received += len(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), 16384):
            self._inner.write(buffer[start : start + 16384], timeout=_left(self._deadline, httpcore.WriteTimeout))

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        seconds = _left(self._deadline, httpcore.ConnectTimeout)
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
    62: ("certificate_wrong_host", "The receiver's certificate is another host's."),
    64: ("certificate_wrong_host", "The receiver's certificate is another address's."),
}
"""By the number in openssl/x509_vfy.h."""


def _tls_failed(cause: BaseException | None) -> Unreached:
    if not isinstance(cause, ssl.SSLCertVerificationError):
        return Unreached("tls_failed", "The receiver does not speak TLS as it should.")
    untrusted = ("certificate_untrusted", "The receiver's certificate is not signed by a known authority.")
    return Unreached(*_CERTIFICATES.get(cause.verify_code, untrusted))


def _left(deadline: float, late: type[httpcore.TimeoutException]) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise late("the time is up")
    return left


def _beginning_of(response: httpcore.Response) -> bytes:
    """The first bytes of an answer's body. Its status counts even if the rest does not come."""
    read = b""
    with contextlib.suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        for chunk in response.iter_stream():
            read += chunk
            if len(read) >= MAX_BODY_BYTES:
                break
    return read[:MAX_BODY_BYTES]


def _plain(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.strip("[]"))
    except ValueError:
        return None


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _looks_numeric(host: str) -> bool:
    """Whether a host ends in a number, so that somebody may read it as an IPv4 address: 127.1, 0x7f.1, 2130706433."""
    last = host.rpartition(".")[2]
    return last.isdigit() or last.startswith("0x")


def check_receiver(url: str, settings: Settings, param: str) -> None:
    """Raise InvalidParameter where an address is not one that may be written to, as far as can be said at once."""
    try:
        check(url, Allowed.by(settings))
    except Refused as error:
        raise InvalidParameter(f"{param} {error.message}.", param=param) from None
