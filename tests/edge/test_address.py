"""The address in links: that of the request, as its client or a trusted proxy says, never that of another caller."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from core import keys
from core.settings import Settings
from tests.edge.wire import JOB, Answer, exchange, request
from tests.factories import a_key
from tests.processes import Process
from tests.receiver import Receiver
from tests.stack import Stack
from tests.waiting import until

ROOT = Path(__file__).parents[2]
JSON = "Content-Type: application/json"
EVIL = "Host: evil.example"
PROXY = [
    "X-Forwarded-For: 192.0.2.7",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: images.example.com",
    "X-Forwarded-Prefix: /art",
]


def send(port: int, method: str, path: str, *lines: str, body: bytes | None = None) -> Answer:
    answer = exchange(port, request(method, path, *lines, body=body))
    assert answer is not None
    return answer


def submit(port: int, *lines: str, path: str = "/v1/jobs", **fields: Any) -> Answer:
    answer = send(port, "POST", path, JSON, *lines, body=json.dumps(json.loads(JOB) | fields).encode())
    assert answer.status == 202, answer.content
    return answer


def job_of(answer: Answer) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(answer.content)
    return job


@pytest.fixture(scope="module")
def key(safelight: Stack) -> str:
    return f"Authorization: Bearer {a_key(safelight.database)}"


@pytest.mark.parametrize("path", ["/v1/jobs", "/art/v1/jobs"], ids=["stripped", "not stripped"])
def test_links_have_the_address_that_the_client_of_a_proxy_used(safelight: Stack, key: str, path: str) -> None:
    answer = submit(safelight.port, key, *PROXY, path=path)
    job = job_of(answer)
    safelight.final(job["id"])
    fetched = job_of(send(safelight.port, "GET", f"{path}/{job['id']}", key, *PROXY))

    assert answer.headers["location"] == f"/art/v1/jobs/{job['id']}"
    assert job["urls"]["events"] == f"https://images.example.com/art/v1/jobs/{job['id']}/events"
    link = fetched["images"][0]["url"]
    assert link.startswith("https://images.example.com/art/v1/images/img_")
    assert send(safelight.port, "GET", link.removeprefix("https://images.example.com"), *PROXY).status == 200


def test_pages_and_their_files_are_found_under_the_path_of_a_proxy(safelight: Stack, key: str) -> None:
    def get(path: str) -> Answer:
        return send(safelight.port, "GET", path, key, *PROXY)

    for begin in ("", "/art"):
        assert b'src="/art/studio/' in get(f"{begin}/").content
        assert b"'/art/openapi.json'" in get(f"{begin}/docs").content
        assert b'"/art/static-offline-docs/swagger-ui-bundle.js"' in get(f"{begin}/docs").content
        assert get(f"{begin}/static-offline-docs/swagger-ui.css").status == 200
        assert json.loads(get(f"{begin}/openapi.json").content)["servers"] == [{"url": "/art"}]
        assert get(f"{begin}/images/nope").status == 404  # `/v1` may be missing under a path too
    (script,) = re.findall(rb'type="module" src="([^"]+)"', get("/art").content)
    assert get(script.decode()).headers["content-type"].startswith("text/javascript")
    assert get("/artist/v1/jobs").status == 404
    assert "servers" not in json.loads(send(safelight.port, "GET", "/openapi.json").content)


def test_links_have_the_host_of_the_request_without_a_proxy(safelight: Stack, key: str) -> None:
    job = safelight.final(safelight.submit()["id"])

    for host in ("localhost:8000", "[::1]:8000", "192.0.2.1", "name_with.underscore"):
        job = job_of(send(safelight.port, "GET", f"/v1/jobs/{job['id']}", key, f"Host: {host}"))
        assert job["urls"]["self"].startswith(f"http://{host}/v1/jobs/job_")
        assert job["images"][0]["url"].startswith(f"http://{host}/v1/images/img_")
    for host in ('evil.example/"', "user@evil.example", "evil.example:80:80", "", "a" * 254):
        job = job_of(send(safelight.port, "GET", f"/v1/jobs/{job['id']}", key, f"Host: {host}"))
        assert job["urls"]["self"].startswith(f"{safelight.url}/v1/jobs/job_")


def test_an_api_that_listens_on_all_addresses_has_ipv6_and_ipv4(proxied: int, key: str) -> None:
    for host in ("[::1]", "127.0.0.1"):
        answer = httpx.get(f"http://{host}:{proxied}/v1/jobs", headers={"authorization": key.partition(" ")[2]})
        assert answer.status_code == 200


def test_headers_of_a_proxy_that_is_not_trusted_are_ignored_and_the_log_says_it(
    local_api: tuple[int, Process], key: str
) -> None:
    port, process = local_api
    job = job_of(submit(port, key, *PROXY, f"Host: localhost:{port}"))

    assert job["urls"]["self"].startswith(f"http://localhost:{port}/v1/jobs/")
    process.until_says("of 127.0.0.1: this address is not in SAFELIGHT_TRUSTED_PROXIES")


def test_a_refused_request_is_logged_with_the_address_of_its_client(
    small_api: tuple[int, Process], local_api: tuple[int, Process]
) -> None:
    for (port, process), address in ((small_api, "192.0.2.7"), (local_api, "127.0.0.1")):  # the second trusts no proxy
        wrong_key = f"Authorization: Bearer {keys.new_key()}"
        assert send(port, "GET", "/v1/jobs", wrong_key, "X-Forwarded-For: 192.0.2.7").status == 401
        process.until_says(f", from {address}")


def test_no_caller_chooses_the_links_of_another(safelight: Stack, key: str) -> None:
    again = "Idempotency-Key: the same request"
    poisoned = job_of(submit(safelight.port, key, EVIL, again))
    replayed = job_of(submit(safelight.port, key, again))

    assert poisoned["urls"]["self"].startswith("http://evil.example/")
    assert replayed == poisoned | {"urls": replayed["urls"]}
    assert "evil" not in json.dumps(replayed)

    batch = json.dumps({"model": "fake", "prompts": ["a cat"], "size": "64x64"}).encode()
    again = "Idempotency-Key: the same batch"
    for lines in ([EVIL], []):
        answer = send(safelight.port, "POST", "/v1/batches", JSON, key, again, *lines, body=batch)
        assert (b"evil" in answer.content) == bool(lines)


def test_a_cached_job_is_not_used_for_another_address(safelight: Stack, key: str) -> None:
    path = f"/v1/jobs/{safelight.final(safelight.submit()['id'])['id']}"
    poisoned = send(safelight.port, "GET", path, key, EVIL)
    cached = f"If-None-Match: {poisoned.headers['etag']}"

    assert send(safelight.port, "GET", path, key, EVIL, cached).status == 304
    answer = send(safelight.port, "GET", path, key, cached)
    assert (answer.status, b"evil" in answer.content) == (200, False)
    assert "private" in answer.headers["cache-control"]


def test_links_in_webhooks_never_have_the_host_of_a_request(safelight: Stack, key: str) -> None:
    with Receiver() as receiver:
        hook = {"url": receiver.url(), "events": ["job.completed"]}
        submit(safelight.port, key, EVIL, "X-Forwarded-Host: evil.example", webhook=hook)
        until(lambda: receiver.requests)
        event = json.loads(receiver.requests[0].body)

    assert event["data"]["images"][0]["url"].startswith(f"{safelight.url}/v1/images/img_")
    assert "evil" not in json.dumps(event)


def test_routes_build_links_with_the_address_of_the_request() -> None:
    of_no_request = {path for path in (ROOT / "api").rglob("*.py") if "settings.base_url" in path.read_text()}

    assert {str(path.relative_to(ROOT)) for path in of_no_request} == {
        "api/app.py",
        "api/context.py",
        "api/edge/address.py",
        "api/webhooks/routes.py",
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"public_url": "images.example.com"}, "https://images.example.com"),
        ({"public_url": "https://x.example/v1"}, "must not end with /v1"),
        ({"public_url": "https://x.example/a//b"}, "the path must be like"),
        ({"public_url": "https://x.example/a", "root_path": "/b"}, "must be the path of public_url"),
        ({"root_path": "art"}, "the path must be like"),
        ({"root_path": "/../art"}, "the path must be like"),
        ({"trusted_proxies": "proxy.example"}, "is no IP address"),
        ({"trusted_proxies": "10.0.0.1/8"}, "last bits are 0"),
        ({"cors_origins": "app.example.com"}, "no origin"),
        ({"cors_origins": "https://app.example.com/page"}, "no origin"),
        ({"cors_origins": "https://*.example.com"}, "no origin"),
        ({"cors_origins": "null"}, "no origin"),
    ],
)
def test_an_address_that_cannot_work_is_refused_at_start(settings: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Settings.model_validate(settings)


def test_a_path_is_the_start_of_links_without_a_public_url() -> None:
    assert Settings(root_path="/art/").base_url == "http://127.0.0.1:8000/art"
    assert Settings(root_path="/art", public_url="https://x.example/art").prefix == "/art"
    assert Settings(
        cors_origins="HTTPS://App.example:443/, http://localhost:80, http://[::1]:3000"
    ).allowed_origins == {
        "https://app.example",
        "http://localhost",
        "http://[::1]:3000",
    }
