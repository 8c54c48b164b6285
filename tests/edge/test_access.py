"""Keys off: only for the programs of this machine. What comes from elsewhere is refused, or needs a key."""

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from cli.panel import print_panel
from core import keys
from core.settings import Settings
from tests.edge.wire import JOB, Answer, exchange, request
from tests.factories import a_key
from tests.processes import Process
from tests.stack import Stack, free_port

JSON = "Content-Type: application/json"

OPEN: dict[str, list[str]] = {
    "a program": [],
    "localhost": ["Host: localhost:8000"],
    "a loopback address": ["Host: 127.8.8.8"],
    "IPv6": ["Host: [::1]:8000"],
    "the API's own page": ["Host: localhost:8000", "Origin: http://localhost:8000", "Sec-Fetch-Site: same-origin"],
    "what a person typed": ["Sec-Fetch-Site: none"],
}

REFUSED: dict[str, tuple[list[str], int, str]] = {
    "DNS rebinding": (["Host: evil.example:8000"], 421, "host_not_allowed"),
    "a name that begins like ours": (["Host: localhost.evil.example"], 421, "host_not_allowed"),
    "an address of another machine": (["Host: 10.1.2.3"], 421, "host_not_allowed"),
    "an empty host": (["Host:"], 421, "host_not_allowed"),
    "X-Forwarded-For": (["X-Forwarded-For: 10.1.2.3"], 401, "invalid_api_key"),
    "X-Forwarded-Proto": (["X-Forwarded-Proto: https"], 401, "invalid_api_key"),
    "Forwarded": (["Forwarded: for=10.1.2.3"], 401, "invalid_api_key"),
    "Via": (["Via: 1.1 proxy"], 401, "invalid_api_key"),
    "X-Real-IP": (["X-Real-IP: 10.1.2.3"], 401, "invalid_api_key"),
    "a page of another site": (["Origin: https://evil.example"], 403, "cross_site_request"),
    "a page without an origin": (["Origin: null"], 403, "cross_site_request"),
    "another port of this machine": (
        ["Host: localhost:8000", "Origin: http://localhost:3000"],
        403,
        "cross_site_request",
    ),
    "a request of another site": (["Sec-Fetch-Site: cross-site"], 403, "cross_site_request"),
    "a request of the same site": (["Sec-Fetch-Site: same-site"], 403, "cross_site_request"),
}


def submit(port: int, *lines: str) -> Answer:
    answer = exchange(port, request("POST", "/v1/jobs", JSON, *lines, body=JOB))
    assert answer is not None
    return answer


@pytest.mark.parametrize("case", OPEN)
def test_a_program_of_this_machine_needs_no_key(safelight: Stack, case: str) -> None:
    assert submit(safelight.port, *OPEN[case]).status == 202


@pytest.mark.parametrize("case", REFUSED)
def test_what_comes_from_elsewhere_is_refused_and_told_why(safelight: Stack, case: str) -> None:
    lines, status, code = REFUSED[case]
    before = safelight.count()

    answer = submit(safelight.port, *lines)

    assert (answer.status, answer.error["code"]) == (status, code)
    assert "SAFELIGHT_" in answer.error["message"]
    assert answer.headers["x-request-id"]
    assert safelight.count() == before


@pytest.mark.parametrize("case", ["DNS rebinding", "Via"])
def test_what_comes_from_elsewhere_is_answered_with_a_key(safelight: Stack, case: str) -> None:
    key = a_key(safelight.database)
    lines, *_ = REFUSED[case]

    assert submit(safelight.port, *lines, f"Authorization: Bearer {key}").status == 202
    assert submit(safelight.port, *lines, f"Authorization: Bearer {keys.new_key()}").status == 401


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_body_of_another_type_is_refused_by_name(safelight: Stack, content_type: str) -> None:
    before = safelight.count()

    for path in ("/v1/jobs", "/v1/webhook_endpoints", "/v1/batches", "/v1/images/generations"):
        answer = exchange(safelight.port, request("POST", path, f"Content-Type: {content_type}", body=JOB))
        assert answer is not None
        assert (answer.status, answer.error["code"]) == (415, "unsupported_media_type"), path
        assert content_type in answer.error["message"]
        assert "application/json" in answer.error["message"]
    assert safelight.count() == before


def test_a_cancel_with_a_body_of_a_web_form_is_refused(safelight: Stack) -> None:
    job = safelight.submit(model="elsewhere")

    answer = exchange(
        safelight.port, request("POST", f"/v1/jobs/{job['id']}/cancel", "Content-Type: text/plain", body=b"x")
    )

    assert answer is not None
    assert answer.status == 415
    assert safelight.job(job["id"])["status"] == "queued"


def test_a_file_must_come_as_a_form(safelight: Stack) -> None:
    answer = exchange(safelight.port, request("POST", "/v1/files", JSON, body=b"{}"))

    assert answer is not None
    assert answer.status == 415
    assert "multipart/form-data" in answer.error["message"]


def test_health_is_answered_under_any_name(safelight: Stack) -> None:
    for path in ("/healthz", "/readyz"):
        answer = exchange(safelight.port, request("GET", path, "Host: evil.example", "Via: 1.1 proxy"))
        assert answer is not None
        assert answer.status == 200


def test_a_page_may_link_to_the_api_and_show_a_signed_image(safelight: Stack) -> None:
    image = safelight.final(safelight.submit()["id"])["images"][0]
    shown = exchange(
        safelight.port, request("GET", image["url"].partition(str(safelight.port))[2], "Sec-Fetch-Site: cross-site")
    )
    opened = exchange(safelight.port, request("GET", "/docs", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"))

    assert shown is not None
    assert opened is not None
    assert (shown.status, opened.status) == (200, 200)


def test_a_public_url_turns_keys_on(proxied: int) -> None:
    for lines in ([], ["Host: images.example.com"], ["Via: 1.1 proxy"]):
        answer = submit(proxied, *lines)
        assert (answer.status, answer.error["code"]) == (401, "invalid_api_key")


def test_no_link_or_redirect_follows_the_host_of_a_request(proxied: int, safelight: Stack) -> None:
    for port, files in ((proxied, b'"/art/studio/'), (safelight.port, b'"studio/')):
        home = exchange(port, request("GET", "/"))
        slash = exchange(port, request("GET", "/v1/jobs/", "Host: localhost"))
        assert home is not None
        assert slash is not None
        assert home.status == 200
        assert b"href=" + files in home.content
        assert slash.status == 404


def test_a_location_begins_with_the_path_of_a_proxy(proxied: int, safelight: Stack) -> None:
    key = a_key(safelight.database)

    answer = submit(proxied, f"Authorization: Bearer {key}")

    assert answer.status == 202
    assert answer.headers["location"].startswith("/art/v1/jobs/job_")


def test_the_documentation_is_readable_under_the_path_of_a_proxy(proxied: int) -> None:
    for path in ("/docs", "/art/docs"):  # with and without the path, as the proxy passes it on
        page = exchange(proxied, request("GET", path))
        assert page is not None
        assert page.status == 200
        assert b"'/art/openapi.json'" in page.content


@pytest.fixture(scope="module")
def shared_api(safelight: Stack) -> Iterator[tuple[int, Process]]:
    """An API that is open to everyone, as its operator wants it."""
    port = free_port()
    with safelight.apart():
        yield port, safelight.api(port, SAFELIGHT_AUTH="off", SAFELIGHT_PUBLIC_URL="http://gpu.lan:8000")


def test_keys_off_by_the_operator_is_said_loudly(shared_api: tuple[int, Process]) -> None:
    port, process = shared_api
    process.until_says("API keys are OFF by SAFELIGHT_AUTH=off, and this API is not only for this machine: EVERYONE")

    assert submit(port, "Host: gpu.lan:8000", "Via: 1.1 proxy").status == 202
    assert submit(port, "Host: evil.example").status == 421
    assert submit(port, "Host: gpu.lan:8000", "Origin: http://evil.example").status == 403
    assert submit(port, "Host: gpu.lan:8000", "Origin: http://gpu.lan:8000").status == 202


@pytest.mark.parametrize(
    ("settings", "needs_key"),
    [
        ({}, False),
        ({"host": "::1"}, False),
        ({"host": "0.0.0.0"}, True),  # noqa: S104 - not bound
        ({"host": "192.168.1.5"}, True),
        ({"public_url": "http://localhost:9000"}, False),
        ({"public_url": "http://[::1]:9000"}, False),
        ({"public_url": "https://images.example.com"}, True),
        ({"public_url": "https://localhost.example.com"}, True),
        ({"public_url": "https://images.example.com", "auth": "off"}, False),
        ({"auth": "on"}, True),
        ({"public_url": ""}, False),
    ],
)
def test_keys_are_needed_if_others_can_reach_the_api(settings: dict[str, str], needs_key: bool) -> None:
    assert Settings.model_validate(settings).needs_key == needs_key


@pytest.mark.parametrize(
    "url",
    [
        *[
            "images.example.com",
            "ftp://x.example",
            "https://",
            "https://x/?a",
            "https://x/#a",
            "https://u@x",
            "http://x:0",
            "//x",
        ],
        *("http://x:port", "https:///v1", "http://x y", "http://x\n"),
    ],
)
def test_a_public_url_that_no_link_can_start_with_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="public_url"):
        Settings(public_url=url)


def test_the_panel_says_who_can_use_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    for settings, sentence, key in (
        ({"public_url": "https://x.example"}, "Every request needs an API key.", 'api_key="YOUR_KEY"'),
        ({"public_url": "https://x.example", "auth": "off"}, "EVERYONE who can reach https://x.example ", "anything"),
        ({}, "API keys are OFF: every program of this machine can use http://127.0.0.1:8000.", "anything"),
    ):
        print_panel(Settings.model_validate(settings), "m", None, seconds=1.0)
        output = capsys.readouterr().out
        assert sentence in output
        assert key in output


def test_links_begin_with_the_public_url() -> None:
    assert Settings(public_url="https://x.example/art/").base_url == "https://x.example/art"


def test_a_key_for_links_that_can_be_guessed_is_refused() -> None:
    for secret in ("x", "x" * 31):
        with pytest.raises(ValidationError, match="openssl rand -hex 24"):
            Settings.model_validate({"secret_key": secret})
    assert Settings.model_validate({"secret_key": "x" * 32}).signing_key == b"x" * 32


def test_an_empty_key_for_links_is_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = Settings.model_validate({"secret_key": "", "data_dir": tmp_path_factory.mktemp("data")})

    assert len(settings.signing_key) >= 32
