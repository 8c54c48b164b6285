"""Pages of other origins: those that are listed may call the API and read its responses, errors too."""

import json

import pytest
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from api.app import create_app
from api.edge.cors import EXPOSED, Cors
from api.rate_limits import headers_of
from core import keys
from core.redis.rates import Rate
from core.settings import Settings
from tests.edge.wire import JOB, Answer, exchange, request
from tests.factories import a_key
from tests.processes import Process
from tests.stack import Stack

LISTED, OTHER = "https://app.example.com", "https://other.example"
SDK_HEADERS = "authorization,content-type,idempotency-key,last-event-id,x-stainless-lang,x-stainless-retry-count"


@pytest.fixture(scope="module")
def local(local_api: tuple[int, Process]) -> int:
    """Its keys are off; one origin is listed, and `*` allows all others."""
    return local_api[0]


@pytest.fixture(scope="module")
def key(safelight: Stack) -> str:
    return f"Authorization: Bearer {a_key(safelight.database)}"


def send(port: int, method: str, path: str, *lines: str, origin: str = LISTED, body: bytes | None = None) -> Answer:
    """A request of a page, as browsers send it."""
    fetch = (f"Origin: {origin}", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: cors")
    answer = exchange(port, request(method, path, *fetch, *lines, body=body))
    assert answer is not None
    return answer


def submit(port: int, *lines: str, origin: str = LISTED) -> Answer:
    return send(port, "POST", "/v1/jobs", "Content-Type: application/json", *lines, origin=origin, body=JOB)


def preflight(port: int, path: str, method: str, origin: str) -> Answer:
    lines = (f"Access-Control-Request-Method: {method}", f"Access-Control-Request-Headers: {SDK_HEADERS}")
    return send(port, "OPTIONS", path, *lines, origin=origin)


def allowed_origin(answer: Answer) -> str | None:
    return answer.headers.get("access-control-allow-origin")


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/jobs", "POST"), ("/art/v1/images/generations", "POST"), ("/v1/files/file-1", "DELETE")]
)
def test_a_browser_is_told_which_pages_may_call(proxied: int, path: str, method: str) -> None:
    answer = preflight(proxied, path, method, LISTED)

    assert (answer.status, allowed_origin(answer)) == (200, LISTED)
    assert answer.headers["access-control-allow-headers"] == SDK_HEADERS
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert method in answer.headers["access-control-allow-methods"]
    for refused in (preflight(proxied, path, method, OTHER), preflight(proxied, path, "PATCH", LISTED)):
        assert (refused.status, refused.error["code"]) == (403, "cross_site_request")
    assert allowed_origin(preflight(proxied, path, method, OTHER)) is None


def test_a_page_reads_responses_and_the_headers_that_matter(proxied: int, key: str, safelight: Stack) -> None:
    accepted = submit(proxied, key)
    job = safelight.final(json.loads(accepted.content)["id"])
    link = job["images"][0]["url"].removeprefix(safelight.url)
    events = f"/v1/jobs/{job['id']}/events"
    answers = [
        accepted,
        send(proxied, "GET", link),
        send(proxied, "GET", events, key),
        send(proxied, "GET", events, key, "Last-Event-ID: 999999999"),
        send(proxied, "HEAD", "/v1/models", key, "Connection: close"),
    ]

    assert [answer.status for answer in answers] == [202, 200, 200, 204, 200]
    for answer in answers:
        assert allowed_origin(answer) == LISTED
        assert "Origin" in answer.headers["vary"]
        assert {"location", "x-request-id", "x-safelight-job", "x-safelight-warnings", "retry-after", "etag"} <= {
            name.strip() for name in answer.headers["access-control-expose-headers"].split(",")
        }
    assert {"location", "x-request-id"} <= accepted.headers.keys() & {*EXPOSED}


def test_a_page_reads_what_is_left_of_each_limit() -> None:
    rate = Rate(is_exceeded=False, limit=2, remaining=1, reset_seconds=1.0)
    names = {name.decode() for name, _ in headers_of({"requests": rate, "images": rate})}

    assert names <= {*EXPOSED}


def test_a_page_reads_every_error(proxied: int, local: int, key: str) -> None:
    errors = {
        401: submit(proxied),
        404: send(proxied, "GET", "/v1/jobs/job_nope", key),
        405: send(proxied, "DELETE", "/v1/models", key),
        413: send(proxied, "POST", "/v1/jobs", key, "Content-Type: application/json", "Content-Length: 2000000"),
        415: send(proxied, "POST", "/v1/jobs", key, "Content-Type: text/plain", body=b"x"),
        421: submit(local, "Host: evil.example"),
        431: send(proxied, "GET", "/v1/jobs", *(f"X-{number}: x" for number in range(200))),
    }

    for status, answer in errors.items():
        assert (answer.status, allowed_origin(answer)) == (status, "*" if status == 421 else LISTED), status
        assert answer.error["code"]
    for answer in (submit(proxied, origin=OTHER), submit(proxied, key, origin=OTHER)):
        assert allowed_origin(answer) is None


def test_an_unexpected_error_is_readable_too() -> None:
    async def broken(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise RuntimeError

    settings = Settings(cors_origins=LISTED)
    app = create_app(settings)
    app.mount("/broken", broken)
    client = TestClient(Cors(app, settings), base_url="http://127.0.0.1", raise_server_exceptions=False)
    answer = client.get("/broken/", headers={"origin": LISTED})

    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert answer.headers["access-control-allow-origin"] == LISTED
    assert answer.headers["x-request-id"]


def test_while_keys_are_off_only_listed_pages_may_call(local: int, key: str, safelight: Stack) -> None:
    before = safelight.count()
    for origin in (OTHER, "null", f"{LISTED}.evil.example", "http://app.example.com"):
        answer = submit(local, origin=origin)
        assert (answer.status, answer.error["code"], allowed_origin(answer)) == (403, "cross_site_request", "*")
    assert submit(local, "Host: evil.example").status == 421  # DNS rebinding by the page itself
    assert submit(local, f"Authorization: Bearer {keys.new_key()}", origin=OTHER).status == 401
    assert safelight.count() == before

    assert submit(local).status == 202
    assert submit(local, key, origin=OTHER).status == 202  # `*`, with a key


def test_options_says_which_methods_a_path_has(proxied: int, safelight: Stack) -> None:
    for path, methods in (("/v1/jobs", {"GET", "POST"}), ("/v1/jobs/job_1", {"GET", "DELETE"}), ("/healthz", {"GET"})):
        for port in (proxied, safelight.port):
            answer = exchange(port, request("OPTIONS", path))
            assert answer is not None
            assert (answer.status, answer.content) == (204, b"")
            assert methods <= {method.strip() for method in answer.headers["allow"].split(",")}


def test_no_page_of_another_origin_may_call_by_default(safelight: Stack) -> None:
    assert submit(safelight.port).status == 403
    assert allowed_origin(submit(safelight.port)) is None
    assert allowed_origin(preflight(safelight.port, "/v1/jobs", "POST", LISTED)) is None
