"""Requests to addresses that clients name: only to the outside, only to the address that was checked, and bounded."""

import ipaddress
import ssl
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler

import pytest

from core.connections import MAX_BODY_BYTES, DeliveryError, IdleConnections
from core.egress import DestinationRefused, Egress, EgressRules, check, is_public
from tests.receiver import CERTIFICATE, EXPIRED, Behaviour, Received, Receiver, answering
from tests.waiting import PATIENCE

LOCAL = EgressRules.parse("127.0.0.1")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


class Names:
    """A resolver that gives its answers one after the other, the last again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.lookups: list[str] = []

    def __call__(self, host: str, _port: int) -> Sequence[str]:
        self.lookups.append(host)
        return self.answers[min(len(self.lookups), len(self.answers)) - 1]


INSIDE = [
    "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",  # noqa: S104 - none is bound
    "100.100.100.200",
    "169.254.169.254", "168.63.129.16", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.7",
    "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1",
    "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "100:0:0:1::1",
    "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1",
    "ff02::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_no_address_of_the_inside_is_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_an_address_of_the_outside_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{}/", "http://127.1:{}/", "http://2130706433:{}/", "http://0x7f.1:{}/", "http://0177.0.0.1:{}/",
        "http://[::1]:{}/", "http://[::ffff:127.0.0.1]:{}/", "http://[64:ff9b::7f00:1]:{}/", "http://[2002:7f00:1::]:{}/",
        "http://0.0.0.0:{}/", "http://0:{}/", "http://localhost:{}/", "http://a.localhost:{}/", "http://localhost.:{}/",
        "http://LOCALHOST:{}/", "http://user@127.0.0.1:{}/", "http://1.1.1.1@127.0.0.1:{}/", "http://127.0.0.1.:{}/",
        "http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/", "http://10.0.0.1/", "http://1.1.1.1:22/",
        "file:///etc/passwd", "gopher://127.0.0.1:{}/", "ftp://127.0.0.1:{}/", "http:///x", "//127.0.0.1:{}/", "",
        "http://user:pass@example.com/", "http://①②⑦.0.0.1:{}/", "http://127。0。0。1:{}/", "http://[fe80::1%25lo]:{}/",
    ],
)  # fmt: skip
def test_a_hostile_url_is_refused_before_anything_is_asked_or_connected(url: str, receiver: Receiver) -> None:
    names = Names(["127.0.0.1"])

    with pytest.raises(DestinationRefused):
        Egress(EgressRules(), resolve=names).post(url.format(receiver.port), b"{}", {}, 5)

    assert (names.lookups, receiver.connections) == ([], 0)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "127.0.0.1"], ["::ffff:127.0.0.1"], ["nonsense"]])
def test_a_name_with_any_address_inside_is_refused(addresses: list[str], receiver: Receiver) -> None:
    names = Names(addresses)

    with pytest.raises(DestinationRefused):
        Egress(EgressRules.parse(None, str(receiver.port)), resolve=names).post(
            receiver.url(host="rebound.test"), b"{}", {}, 5
        )

    assert (names.lookups, receiver.connections) == (["rebound.test"], 0)


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to(receiver: Receiver) -> None:
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    egress = Egress(LOCAL, resolve=names)

    answer = egress.post(receiver.url(host="receiver.test"), b'{"a":1}', {"webhook-id": "evt_1"}, 5)

    assert (answer.status, answer.body, names.lookups) == (200, b"ok", ["receiver.test"])
    (request,) = receiver.requests
    assert request.headers["host"] == f"receiver.test:{receiver.port}"
    assert (request.headers["webhook-id"], request.body) == ("evt_1", b'{"a":1}')
    with pytest.raises(DestinationRefused):
        egress.post(receiver.url(host="receiver.test"), b"{}", {}, 5)
    assert receiver.connections == 1


def test_the_next_address_is_tried_where_one_takes_no_connections(receiver: Receiver) -> None:
    addresses = EgressRules.parse("127.0.0.0/8, ::1")
    names = Names(["::1", "127.0.0.1"])

    assert Egress(addresses, resolve=names).post(receiver.url(host="receiver.test"), b"{}", {}, 5).status == 200


def test_a_receiver_inside_is_reached_by_its_name_if_the_operator_says_so(receiver: Receiver) -> None:
    names = Names(["127.0.0.1"])
    url = receiver.url(host="hooks.internal")

    assert Egress(EgressRules.parse("hooks.internal"), resolve=names).post(url, b"{}", {}, 5).status == 200
    with pytest.raises(DestinationRefused):
        Egress(EgressRules.parse("other.internal, 10.0.0.0/8"), resolve=names).post(url, b"{}", {}, 5)


@pytest.mark.parametrize("words", ["10.0.0.0/40", "http://a", "1.2.3", "10.0.0.1/8"])
def test_an_exception_that_cannot_be_read_is_refused_at_start(words: str) -> None:
    with pytest.raises(ValueError, match="not a host name"):
        EgressRules.parse(words)


def test_a_redirect_is_an_answer_and_not_followed(receiver: Receiver) -> None:
    with Receiver() as canary:
        receiver.behave = answering(301, {"location": canary.url()})
        assert Egress(LOCAL).post(receiver.url(), b"{}", {}, 5).status == 301
        assert canary.connections == 0


def test_no_proxy_is_taken_from_the_environment(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as canary:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, canary.url(""))
        assert Egress(LOCAL).post(receiver.url(), b"{}", {}, 5).status == 200
        assert canary.connections == 0


def test_a_certificate_is_checked_against_the_name(receiver: Receiver) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    names = Names(["127.0.0.1"])
    with Receiver(tls=True) as secure:
        egress = Egress(LOCAL, resolve=names, tls=trusting)
        assert egress.post(secure.url(host="receiver.test", scheme="https"), b"{}", {}, 10).status == 200
        for host, sender, code in (
            ("other.test", egress, "certificate_wrong_host"),
            ("receiver.test", Egress(LOCAL, resolve=names), "certificate_untrusted"),
        ):
            assert error_code(sender, secure.url(host=host, scheme="https")) == code
        assert secure.names == ["receiver.test", "other.test", "receiver.test"]
        assert len(secure.requests) == 1


def test_an_expired_certificate_has_another_code_than_a_server_without_tls(receiver: Receiver) -> None:
    trusting = ssl.create_default_context(cafile=str(EXPIRED))
    egress = Egress(LOCAL, resolve=Names(["127.0.0.1"]), tls=trusting)
    with Receiver(tls=EXPIRED) as expired:
        assert error_code(egress, expired.url(host="receiver.test", scheme="https")) == "certificate_expired"
        assert expired.requests == []
    assert error_code(egress, receiver.url(host="receiver.test", scheme="https")) == "tls_failed"


def error_code(egress: Egress, url: str) -> str:
    """The code of what keeps a URL from being reached."""
    with pytest.raises(DeliveryError) as caught:
        egress.post(url, b"{}", {}, 10)
    return caught.value.code


def test_a_receiver_that_has_ipv6_alone_is_reached() -> None:
    names = Names(["::1"])
    with Receiver(host="::1") as receiver:
        for url in (receiver.url(host="receiver.test"), receiver.url(host="[::1]")):
            assert Egress(EgressRules.parse("::1"), resolve=names).post(url, b"{}", {}, 5).status == 200
            assert error_code(Egress(LOCAL, resolve=names), url) == "destination_refused"
        assert receiver.requests[1].headers["host"] == f"[::1]:{receiver.port}"
        assert receiver.connections == 2


@pytest.mark.parametrize(
    ("url", "ports", "verdict"),
    [
        ("https://example.com/", "80, 443", None),
        ("http://example.com:443/", "80, 443", None),
        ("https://example.com:8443/", "80, 443", "80, 443"),
        ("https://example.com:8443/", "443, 8443", None),
        ("http://example.com/", "443, 8443", "443, 8443"),
        ("https://1.1.1.1:8443/", "80, 443", "80, 443"),
        ("https://hooks.internal:8443/", "80, 443", None),
        ("https://10.1.2.3:8443/", "80, 443", None),
        ("https://hooks.internal:22/", "80, 443", "80, 443"),
        ("https://10.1.2.3:22/", "80, 443", "80, 443"),
        ("https://10.1.2.3:22/", "22", None),
    ],
)
def test_ports_are_those_that_the_operator_named(url: str, ports: str, verdict: str | None) -> None:
    addresses = EgressRules.parse("hooks.internal, 10.1.2.3" if "1.2.3" in url or "internal" in url else None, ports)
    if verdict is None:
        check(url, addresses)
        return
    with pytest.raises(DestinationRefused, match=f"must use one of the ports {verdict};"):
        check(url, addresses)


def test_a_public_name_has_no_more_ports_because_a_network_inside_is_let_in(receiver: Receiver) -> None:
    names = Names(["1.1.1.1"])
    assert error_code(Egress(LOCAL, resolve=names), "http://example.com:8443/") == "destination_refused"


def _hang(handler: BaseHTTPRequestHandler, _request: Received) -> None:
    _has_gone(handler, PATIENCE)


def _trickle(handler: BaseHTTPRequestHandler, _request: Received) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nx-slow: " + b"a" * 1000:
        if _has_gone(handler, 0.05):
            return
        handler.wfile.write(bytes([byte]))


def _has_gone(handler: BaseHTTPRequestHandler, seconds: float) -> bool:
    """Whether the sender goes away within some time, which a read of its connection tells."""
    handler.connection.settimeout(seconds)
    try:
        return not handler.connection.recv(1)
    except TimeoutError:
        return False


@pytest.mark.parametrize("behave", [_hang, _trickle])
def test_one_deadline_holds_for_everything(behave: Behaviour, receiver: Receiver) -> None:
    receiver.behave = behave
    with pytest.raises(DeliveryError) as caught:
        Egress(LOCAL).post(receiver.url(), b"{}", {}, 0.5)

    assert caught.value.code == "timeout"  # else the receiver's own end would have come first: "no_answer"


def test_a_resolver_that_hangs_is_not_waited_for(receiver: Receiver) -> None:
    def hang(_host: str, _port: int) -> Sequence[str]:
        receiver.closing.wait(PATIENCE)
        return []

    with pytest.raises(DeliveryError) as caught:
        Egress(LOCAL, resolve=hang).post(receiver.url(host="receiver.test"), b"{}", {}, 0.3)
    assert caught.value.code == "timeout"


def test_an_endless_answer_is_read_to_a_small_bound(receiver: Receiver) -> None:
    byte_count = 0

    def pour(handler: BaseHTTPRequestHandler, _request: Received) -> None:
        nonlocal byte_count
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\ncontent-encoding: gzip\r\n\r\n")
        for _ in range(15_000):
            byte_count += handler.wfile.write(b"\x1f" * 65536) or 0

    receiver.behave = pour
    answer = Egress(LOCAL).post(receiver.url(), b"{}", {}, 10)

    assert (answer.status, len(answer.body)) == (200, MAX_BODY_BYTES)


def test_endless_headers_are_broken_off(receiver: Receiver) -> None:
    def pour(handler: BaseHTTPRequestHandler, _request: Received) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(1_000_000):
            handler.wfile.write(b"x-%d: %s\r\n" % (number, b"a" * 1000))

    receiver.behave = pour
    with pytest.raises(DeliveryError) as caught:
        Egress(LOCAL).post(receiver.url(), b"{}", {}, 10)
    assert caught.value.code == "no_answer"


def test_a_closed_port_has_another_code_than_an_answer_that_is_not_http(receiver: Receiver) -> None:
    def mumble(handler: BaseHTTPRequestHandler, _request: Received) -> None:
        handler.wfile.write(b"220 mail.test ESMTP\r\n")

    receiver.behave = mumble
    closed_receiver = Receiver()
    closed_receiver.close()
    for url, names, code in (
        (receiver.url(), Names(), "no_answer"),
        (closed_receiver.url(), Names(), "connection_failed"),
        (receiver.url(host="receiver.test"), Names([]), "name_not_found"),
    ):
        with pytest.raises(DeliveryError) as caught:
            Egress(LOCAL, resolve=names).post(url, b"{}", {}, 5)
        assert caught.value.code == code


@pytest.fixture
def idle() -> Iterator[IdleConnections]:
    connections = IdleConnections()
    yield connections
    connections.close()


def test_a_connection_is_used_again_only_while_its_address_is_allowed(idle: IdleConnections) -> None:
    with Receiver(keep_alive=True) as receiver, Receiver(host="127.0.0.2", port=receiver.port) as other:
        names = Names(["127.0.0.1"], ["127.0.0.1"], ["127.0.0.2"], ["10.0.0.1"], ["127.0.0.1", "10.0.0.1"])
        egress = Egress(EgressRules.parse("127.0.0.1, 127.0.0.2"), resolve=names, idle=idle)
        url = receiver.url(host="receiver.test")

        assert [egress.post(url, b"{}", {}, 5).status for _ in range(3)] == [200] * 3

        assert (receiver.connections, len(receiver.requests)) == (1, 2)
        assert (other.connections, len(other.requests)) == (1, 1), "the name leads to another address now"
        for _ in range(2):  # the connection to 127.0.0.1 is still open
            assert error_code(egress, url) == "destination_refused"
        assert egress.post(receiver.url(), b"{}", {}, 5).status == 200
        assert receiver.connections == 2, "the connection belongs to another host name"
        assert len(names.lookups) == 5


def test_a_connection_with_tls_is_used_again_for_its_name_alone(idle: IdleConnections) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    with Receiver(tls=True, keep_alive=True) as secure:
        egress = Egress(LOCAL, resolve=Names(["127.0.0.1"]), tls=trusting, idle=idle)
        for _ in range(2):
            assert egress.post(secure.url(host="receiver.test", scheme="https"), b"{}", {}, 10).status == 200
        assert secure.connections == 1
        assert error_code(egress, secure.url(host="other.test", scheme="https")) == "certificate_wrong_host"


def test_a_connection_that_the_receiver_has_closed_costs_no_delivery(idle: IdleConnections) -> None:
    with Receiver(keep_alive=True) as receiver:
        egress = Egress(LOCAL, idle=idle)

        def reset_unless_new(handler: BaseHTTPRequestHandler, request: Received) -> None:
            """Answers the first request of a connection, and closes it at the second one."""
            if getattr(handler, "is_used", False):
                handler.close_connection = True
                return
            setattr(handler, "is_used", True)  # noqa: B010 - the class has no such attribute
            answering(200)(handler, request)

        receiver.behave = reset_unless_new
        statuses = [egress.post(receiver.url(), b"{}", {"webhook-id": str(number)}, 5).status for number in range(4)]

        assert statuses == [200] * 4
        assert [request.headers["webhook-id"] for request in receiver.requests] == ["0", "1", "1", "2", "2", "3", "3"]


@pytest.mark.parametrize(
    "headers", [{"connection": "close"}, {"content-length": "100000"}], ids=["asks to close", "has more to say"]
)
def test_a_connection_is_closed_that_cannot_be_used_again(headers: dict[str, str], idle: IdleConnections) -> None:
    with Receiver(keep_alive=True) as receiver:

        def answer(handler: BaseHTTPRequestHandler, _request: Received) -> None:
            handler.send_response(200)
            for name, value in ({"content-length": "10000"} | headers).items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(b"x" * 10_000)

        receiver.behave = answer
        egress = Egress(LOCAL, idle=idle)
        assert [egress.post(receiver.url(), b"{}", {}, 5).status for _ in range(2)] == [200] * 2
        assert receiver.connections == 2
