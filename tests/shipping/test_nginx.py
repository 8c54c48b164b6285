"""The example of a proxy, deploy/nginx.conf, run by nginx in front of a Safelight."""

import csv
import gzip
import io
import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urljoin

import httpx
import openai
import pytest

from core.settings import Settings
from tests.factories import a_key
from tests.processes import Process
from tests.shipping.files import ROOT, text
from tests.stack import Stack, body, free_port
from tests.waiting import PATIENCE, until

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
CERTIFICATE = ROOT / "tests" / "receiver.pem"

INVENTED = {"x-forwarded-host": "evil.example", "x-forwarded-prefix": "/evil", "forwarded": "host=evil.example"}

needs_nginx = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed")


@contextmanager
def proxy(safelight: Stack, directory: Path, path: str = "") -> Iterator[httpx.Client]:
    """nginx with the example, with other ports and directories. path: serve the API under it, as the example says."""
    plain, tls = free_port(), free_port()
    example = text("deploy/nginx.conf")
    for old, new in {
        "127.0.0.1:8000": f"127.0.0.1:{safelight.port}",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl": f"listen 127.0.0.1:{tls} ssl",
        "/var/log/nginx": str(directory),
    }.items():
        assert old in example
        example = example.replace(old, new)
    example = re.sub(r" *listen \[::\].*\n", "", example)
    example = re.sub(r"(ssl_certificate(?:_key)?) .*;", rf"\1 {CERTIFICATE};", example)
    if path:
        example = example.replace('$safelight_path ""', f'$safelight_path "{path}"')
        example, count = re.subn(r"(location (?:= |~ \^)?)/", rf"\1{path}/", example)
        assert count == 4
    temporary = "".join(
        f"{kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"daemon off;\nmaster_process off;\npid {directory}/pid;\nerror_log stderr notice;\n"
        f"events {{}}\nhttp {{\n{temporary}{example}\n}}\n"
    )
    check = subprocess.run([NGINX, "-t", "-c", configuration], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr
    assert "[warn]" not in check.stderr.replace('the "user" directive', ""), check.stderr
    with (
        Process("nginx", [NGINX, "-c", str(configuration)], {}),
        httpx.Client(base_url=f"https://127.0.0.1:{tls}{path}", verify=False, timeout=PATIENCE) as client,  # noqa: S501 - the tests' own certificate
    ):
        until(lambda: answers(client))
        yield client


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


@needs_nginx
def test_the_example_of_a_proxy_works_and_bounds_what_strangers_send(safelight: Stack, tmp_path: Path) -> None:
    with proxy(safelight, tmp_path) as client:
        assert client.get("/healthz").headers["strict-transport-security"]
        assert client.get("/v1/jobs").status_code == 401  # keys are off, and the request came through a proxy
        assert client.post("/v1/jobs", content=b"x" * 17_000_000).status_code == 413
        statuses = {client.get("/healthz").status_code for _ in range(300)}
        assert statuses <= {200, 429}  # a fast client meets the limit of requests


@needs_nginx
@pytest.mark.parametrize("path", ["", "/art"])
def test_the_official_client_works_through_the_proxy(safelight: Stack, tmp_path: Path, path: str) -> None:
    key = a_key(safelight.database)
    with proxy(safelight, tmp_path, path) as client:
        client.headers.update(INVENTED)
        url = str(client.base_url).rstrip("/")
        http_client = openai.DefaultHttpxClient(verify=False, headers=INVENTED)
        sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=key, http_client=http_client)
        image = sdk.images.generate(model="fake", prompt="a cat", size="64x64", response_format="url")
        batch = sdk.post("/batches", body={"model": "fake", "prompts": ["a cat"], "size": "64x64"}, cast_to=object)
        content = [sdk.files.create(purpose="batch", file=("x.jsonl", b"{}" * count)) for count in (1, 1_000_000)]
        sdk.close()
        link = (image.data or [])[0].url or ""

        assert link.startswith(f"{url}/v1/images/img_")
        assert client.get(link).headers["content-type"] == "image/png"
        assert [file.bytes for file in content] == [2, 2_000_000]

        client.headers["authorization"] = f"Bearer {key}"
        urls = cast(dict[str, Any], batch)["urls"]
        until(lambda: body(client.get(urls["self"]))["status"] == "completed")
        (row,) = csv.DictReader(client.get(urls["manifest"]).text.splitlines())
        with zipfile.ZipFile(io.BytesIO(client.get(urls["images"]).content)) as archive:
            assert archive.read(row["file"]) == client.get(row["url"]).content
        follow_a_job(client, url)


def follow_a_job(client: httpx.Client, url: str) -> None:
    """Submit a job by a compressed body in chunks, follow its `Location` and its events to the end."""

    def chunks() -> Iterator[bytes]:
        compressed = gzip.compress(json.dumps({"prompt": "a cat", "model": "slow", "size": "64x64"}).encode())
        yield from (compressed[:20], compressed[20:])

    headers = {"content-type": "application/json", "content-encoding": "gzip", "expect": "100-continue"}
    accepted = client.post(f"{url}/v1/jobs", content=chunks(), headers=headers)
    assert accepted.status_code == 202, accepted.text
    job_url = urljoin(url, accepted.headers["location"])
    assert body(accepted)["urls"]["self"] == job_url

    with client.stream("GET", f"{job_url}/events") as stream:
        lines = stream.iter_lines()
        assert any("job.queued" in line for line in lines)
        assert body(client.get(job_url))["status"] in ("queued", "in_progress")  # so nginx does not wait for the end
        last_id = [line.partition(": ")[2] for line in lines if line.startswith("id: ")][-1]
    assert client.get(f"{job_url}/events", headers={"last-event-id": last_id}).status_code == 204
    assert client.head(body(client.get(job_url))["images"][0]["url"]).status_code == 200


def test_the_sizes_of_the_example_fit_the_settings() -> None:
    example, settings = text("deploy/nginx.conf"), Settings()
    megabytes = {int(size) for size in re.findall(r"client_max_body_size (\d+)m;", example)}

    def needed(number_of_bytes: int) -> int:
        return -(-number_of_bytes // 2**20)

    sizes = (settings.max_batch_body_bytes, settings.max_file_bytes + 2**20, 2 * settings.max_image_bytes + 2**21)
    assert all(any(needed(size) <= allowed <= needed(size) + 12 for allowed in megabytes) for size in sizes)
    (timeout,) = re.findall(r"proxy_read_timeout (\d+)s;", example)
    assert int(timeout) > settings.sync_timeout.total_seconds()
