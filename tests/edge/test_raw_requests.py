"""Requests that two readers could understand differently, or that are no HTTP: refused, and nothing is stored."""

import pytest

from tests.edge.wire import JOB, Answer, exchange, request
from tests.stack import Stack

HOST, JSON = "Host: 127.0.0.1", "Content-Type: application/json"
LENGTH = f"Content-Length: {len(JOB)}"
CHUNK = b"%x\r\n%s\r\n" % (len(JOB), JOB)
HIDDEN = b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n\r\n"


def post(*lines: str, body: bytes = JOB) -> bytes:
    """A submit with exactly these headers."""
    return "\r\n".join(["POST /v1/jobs HTTP/1.1", HOST, JSON, *lines, "", ""]).encode("latin-1") + body


MALFORMED: dict[str, bytes] = {
    "length and chunks": post(LENGTH, "Transfer-Encoding: chunked", body=CHUNK + b"0\r\n\r\n"),
    "chunks and length": post("Transfer-Encoding: chunked", LENGTH, body=CHUNK + b"0\r\n\r\n"),
    "two lengths": post(LENGTH, "Content-Length: 0"),
    "the same length twice": post(LENGTH, LENGTH),
    "a list of lengths": post(f"Content-Length: {len(JOB)}, {len(JOB)}"),
    "a length with a sign": post(f"Content-Length: +{len(JOB)}"),
    "a negative length": post("Content-Length: -1"),
    "a length with an underscore": post("Content-Length: 1_0"),
    "a hexadecimal length": post("Content-Length: 0x20"),
    "a huge length": post("Content-Length: " + "9" * 5000),
    "an empty length": post("Content-Length:"),
    "identity, chunked": post("Transfer-Encoding: identity, chunked", body=CHUNK + b"0\r\n\r\n"),
    "chunked, identity": post("Transfer-Encoding: chunked, identity", body=CHUNK + b"0\r\n\r\n"),
    "gzip": post("Transfer-Encoding: gzip, chunked", body=CHUNK + b"0\r\n\r\n"),
    "an unknown encoding": post("Transfer-Encoding: xchunked", body=CHUNK + b"0\r\n\r\n"),
    "two encodings": post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNK + b"0\r\n\r\n"),
    "a chunk size that is none": post("Transfer-Encoding: chunked", body=b"zz\r\n" + JOB),
    "a negative chunk size": post("Transfer-Encoding: chunked", body=b"-5\r\n" + JOB),
    "a chunk size of 40 digits": post("Transfer-Encoding: chunked", body=b"1" * 40 + b"\r\n" + JOB),
    "a chunk that is longer than its size": post("Transfer-Encoding: chunked", body=b"5\r\n" + JOB + b"\r\n0\r\n\r\n"),
    "a space before the colon": post("Content-Length : 5"),
    "a folded header": post(LENGTH, "X-A: b\r\n c"),
    "a header without a name": post(LENGTH, ": x"),
    "a bare line feed": post(LENGTH, "X-A: b\nX-C: d"),
    "a bare carriage return": post(LENGTH, "X-A: b\rX-C: d"),
    "NUL in a header": post(LENGTH, "X-A: b\0"),
    "an absolute target": request("GET", "http://127.0.0.1/v1/models"),
    "an absolute target of another host": request("GET", "http://evil.example/v1/models"),
    "a target without a slash": request("GET", "v1/models"),
    "an asterisk": request("GET", "*"),
    "CONNECT": request("CONNECT", "127.0.0.1:80"),
    "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
    "two hosts": request("GET", "/v1/models", HOST, "Host: evil.example"),
    "chunks in HTTP/1.0": post("Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0") + CHUNK,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/0.9": b"GET /v1/models\r\n\r\n",
    "an unknown version": b"GET / HTTP/1.9\r\nHost: x\r\n\r\n",
    "an unknown method": b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "a space in the target": b"GET /v1 /models HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_not_clear_is_refused_and_stores_nothing(safelight: Stack, case: str) -> None:
    before = safelight.count()

    answer = exchange(safelight.port, MALFORMED[case] + HIDDEN)

    assert answer is not None
    assert (answer.status, answer.error["code"]) == (400, "malformed_request")
    assert answer.headers["connection"] == "close"
    assert safelight.count() == before


VALID: dict[str, bytes] = {
    "a body with its length": post(LENGTH),
    "a body in chunks": post("Transfer-Encoding: chunked", body=CHUNK + b"0\r\n\r\n"),
    "a body in chunks with a trailer": post(
        "Transfer-Encoding: chunked", body=CHUNK + b"0\r\nOrigin: http://evil.example\r\n\r\n"
    ),
    "an extension of a chunk": post(
        "Transfer-Encoding: CHUNKED", body=CHUNK.replace(b"\r\n", b";a=b\r\n", 1) + b"0\r\n\r\n"
    ),
    "empty lines before": b"\r\n\r\n" + post(LENGTH),
    "an offer of HTTP/2": post(
        LENGTH, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"
    ),
}


@pytest.mark.parametrize("case", VALID)
def test_what_is_valid_is_accepted(safelight: Stack, case: str) -> None:
    answer = exchange(safelight.port, VALID[case])

    assert answer is not None
    assert answer.status == 202, answer.content


def test_requests_in_a_row_are_answered_in_order(safelight: Stack) -> None:
    answer = exchange(safelight.port, post(LENGTH) + request("GET", "/healthz") * 4)

    assert answer is not None
    assert answer.status == 202


def test_what_follows_a_request_does_not_spoil_its_response(safelight: Stack) -> None:
    for rest in (b"\0\0\0", b"GET / HTTP/1.1\r\n\r\n", b"GET /" + b"a" * 100_000):
        answer = exchange(safelight.port, post(LENGTH) + rest)

        assert answer is not None
        assert answer.status == 202
        assert answer.headers["connection"] == "close"


NUMBERS: dict[str, tuple[str, str, int]] = {
    # target, header, and the status
    "a retry count of 5,000 digits": ("/v1/images/generations", "x-stainless-retry-count: " + "9" * 5000, 200),
    "an event id of 5,000 digits": ("/v1/jobs/{id}/events", "Last-Event-ID: " + "9" * 5000, 400),
    "an event id beyond 64 bits": ("/v1/jobs/{id}/events", "Last-Event-ID: " + "9" * 19, 400),
    "an event id with a sign": ("/v1/jobs/{id}/events", "Last-Event-ID: -1", 400),
    "an event id with an underscore": ("/v1/jobs/{id}/events", "Last-Event-ID: 1_0", 400),
    "an event id in other digits": ("/v1/jobs/{id}/events", "Last-Event-ID: \xb2", 400),
    "a range of 5,000 digits": ("/v1/jobs/{id}", "Range: bytes=0-" + "9" * 5000, 200),
    "an etag of 5,000 digits": ("/v1/jobs/{id}", "If-None-Match: " + "9" * 5000, 200),
    "a limit of 5,000 digits": ("/v1/jobs?limit=" + "9" * 5000, "", 400),
    "a wait of 5,000 digits": ("/v1/jobs/{id}?wait=" + "9" * 5000, "", 400),
    "a wait that is no number": ("/v1/jobs/{id}?wait=nan", "", 400),
    "an infinite wait": ("/v1/jobs/{id}?wait=inf", "", 400),
    "a time of 5,000 digits": ("/v1/jobs?created_after=" + "9" * 5000, "", 400),
    "an expiry of 5,000 digits": ("/v1/images/img_1/content?signature=x&expires=" + "9" * 5000, "", 400),
    "an expiry of 4,000 digits": ("/v1/images/img_1/content?signature=x&expires=" + "9" * 4000, "", 401),
    "a negative expiry": ("/v1/images/img_1/content?signature=x&expires=-1", "", 401),
    "a preference that is no number": ("/v1/jobs/{id}", "Prefer: wait=" + "9" * 5000, 200),
    "a port of 5,000 digits": ("/v1/jobs/{id}", "Host: localhost:" + "9" * 5000, 200),
}


@pytest.fixture(scope="module")
def final_job(safelight: Stack) -> str:
    return str(safelight.final(safelight.submit()["id"])["id"])


@pytest.mark.parametrize("case", NUMBERS)
def test_a_number_without_end_is_no_error_of_ours(safelight: Stack, final_job: str, case: str) -> None:
    target, line, status = NUMBERS[case]
    lines = [line] if line else []

    if target == "/v1/images/generations":
        answer = exchange(safelight.port, request("POST", target, JSON, *lines, body=JOB))
    else:
        answer = exchange(safelight.port, request("GET", target.format(id=final_job), *lines))

    assert answer is not None
    assert answer.status == status, answer.content


LIMITED: dict[str, bytes] = {
    "many headers": request("GET", "/healthz", *(f"X-{number}: x" for number in range(200))),
    "a hundred thousand headers": request("GET", "/healthz", *(["A: b"] * 100_000)),
    "a long value": request("GET", "/healthz", "X-A: " + "b" * 40_000),
    "a value of a megabyte": request("GET", "/healthz", "X-A: " + "b" * 1_000_000),
    "a long name": request("GET", "/healthz", "b" * 40_000 + ": c"),
    "a long target": request("GET", "/" + "b" * 40_000),
    "a target without end": b"GET /" + b"b" * 1_000_000,
    "trailers without end": post("Transfer-Encoding: chunked", body=CHUNK + b"0\r\n" + b"X-A: b\r\n" * 100_000),
    "empty lines without end": b"\r\n" * 100_000,
}


@pytest.mark.parametrize("case", LIMITED)
def test_headers_have_a_limit(safelight: Stack, case: str) -> None:
    answer = exchange(safelight.port, LIMITED[case])

    assert answer is not None
    assert (answer.status, answer.error["code"]) == (431, "headers_too_large")


def test_headers_up_to_the_limit_are_read(safelight: Stack) -> None:
    answer = exchange(
        safelight.port, request("GET", "/healthz", *(f"X-{number}: " + "y" * 300 for number in range(90)))
    )

    assert isinstance(answer, Answer)
    assert answer.status == 200
