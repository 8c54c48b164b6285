"""The headers of proxies: what is believed of them, and from whom."""

import time
import timeit

import pytest

from api.edge.forwarded import SAYS_NOTHING, Forwarded, TrustedProxies
from core.settings.addresses import networks_of

PROXIES = TrustedProxies(networks_of("127.0.0.0/8, ::1, 10.0.0.0/8"))
PUBLIC = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "x.example"}


def read(headers: dict[str, str], peer: str = "127.0.0.1") -> Forwarded:
    return PROXIES.read(peer, [(name.lower().encode(), value.encode()) for name, value in headers.items()])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, SAYS_NOTHING),
        ({"X-Forwarded-For": "192.0.2.7"}, Forwarded(client="192.0.2.7")),
        ({"X-Forwarded-For": "192.0.2.7:4711"}, Forwarded(client="192.0.2.7")),
        ({"X-Forwarded-For": "[2001:DB8::7]:4711"}, Forwarded(client="2001:db8::7")),
        (PUBLIC, Forwarded(scheme="https", host="x.example")),
        (PUBLIC | {"X-Forwarded-Port": "443"}, Forwarded(scheme="https", host="x.example")),
        (PUBLIC | {"X-Forwarded-Port": "8443"}, Forwarded(scheme="https", host="x.example:8443")),
        ({"X-Forwarded-Host": "[::1]", "X-Forwarded-Port": "81"}, Forwarded(host="[::1]:81")),
        ({"X-Forwarded-Host": "x.example:9", "X-Forwarded-Port": "81"}, Forwarded(host="x.example:9")),
        ({"X-Forwarded-Prefix": "/art/"}, Forwarded(prefix="/art")),
        (
            {"Forwarded": 'for="[2001:db8::7]:47";PROTO=https;host="x.example:8443";by=10.1.1.1'},
            Forwarded("2001:db8::7", "https", "x.example:8443"),
        ),
        ({"Forwarded": "for=unknown;proto=https"}, Forwarded(scheme="https")),
        # nginx sets its own headers and passes the client's `Forwarded` on
        (PUBLIC | {"Forwarded": "for=192.0.2.9;host=evil.example"}, Forwarded(scheme="https", host="x.example")),
    ],
)
def test_a_proxy_says_which_address_its_client_used(headers: dict[str, str], expected: Forwarded) -> None:
    assert read(headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Host": 'x.example"><script>'},
        {"X-Forwarded-Host": "x.example/path"},
        {"X-Forwarded-Host": "user@x.example"},
        {"X-Forwarded-Proto": "javascript"},
        {"X-Forwarded-For": "somebody"},
        {"X-Forwarded-Prefix": "//evil.example"},
        {"X-Forwarded-Prefix": "/a/../b"},
        {"X-Forwarded-Prefix": "/a'b"},
        {"X-Forwarded-Prefix": "art"},
        {"X-Forwarded-Prefix": "/" + "a" * 200},
        {"X-Forwarded-Host": "a" * 254},
        {"Forwarded": "proto;host=;;=,,"},
    ],
)
def test_what_no_link_can_contain_is_ignored(headers: dict[str, str]) -> None:
    assert read(headers) == SAYS_NOTHING


def test_only_what_trusted_proxies_have_written_is_believed() -> None:
    # The client sent the first entry, a proxy that appends wrote the second.
    appended = {"X-Forwarded-For": "10.9.9.9, 192.0.2.7", "X-Forwarded-Host": "evil.example, x.example"}
    # 10.1.1.1 is trusted too: its entry is the first.
    two_proxies = {"X-Forwarded-For": "192.0.2.7, 10.1.1.1", "X-Forwarded-Host": "x.example, inside.example"}
    standard = {"Forwarded": "for=10.9.9.9;host=evil.example, for=192.0.2.7;host=x.example, for=10.1.1.1"}

    for headers in (appended, two_proxies, standard):
        assert read(headers) == Forwarded(client="192.0.2.7", host="x.example")
    assert read(PUBLIC, peer="::ffff:10.1.1.1") == Forwarded(scheme="https", host="x.example")
    for stranger in ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", ""):
        assert read(PUBLIC, peer=stranger) == SAYS_NOTHING


def test_a_long_list_of_proxies_is_read_in_part() -> None:
    assert read({"X-Forwarded-For": ", ".join(["192.0.2.7", *["10.0.0.1"] * 3000])}) == Forwarded(client="10.0.0.1")


@pytest.mark.parametrize("text", ["a", " ", 'a="', "a= ", '\\"', ";", 'for="\\'])
def test_a_long_header_takes_time_in_proportion_to_its_length(text: str) -> None:
    def seconds(length: int) -> float:
        headers = {"Forwarded": text * (length // len(text))}
        return min(timeit.repeat(lambda: read(headers), timer=time.thread_time, number=1, repeat=5))

    assert seconds(24_000) < 70 * seconds(2_000) + 0.001  # 144 times, if it were quadratic
