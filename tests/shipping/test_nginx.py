"""The example of a proxy, deploy/nginx.conf, run by nginx in front of a Safelight."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.settings import Settings
from tests.processes import Process
from tests.shipping.files import ROOT, text
from tests.stack import Stack, free_port
from tests.waiting import until

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
CERTIFICATE = ROOT / "tests" / "receiver.pem"

needs_nginx = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed")


@pytest.fixture
def proxy(safelight: Stack, tmp_path: Path) -> Iterator[httpx.Client]:
    """The example with other ports and paths."""
    plain, tls = free_port(), free_port()
    example = text("deploy/nginx.conf")
    for old, new in {
        "127.0.0.1:8000": f"127.0.0.1:{safelight.port}",
        "listen 80;": f"listen 127.0.0.1:{plain};",
        "listen 443 ssl": f"listen 127.0.0.1:{tls} ssl",
        "/var/log/nginx": str(tmp_path),
    }.items():
        assert old in example
        example = example.replace(old, new)
    example = re.sub(r" *listen \[::\].*\n", "", example)
    example = re.sub(r"(ssl_certificate(?:_key)?) .*;", rf"\1 {CERTIFICATE};", example)
    temporary = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"daemon off;\nmaster_process off;\npid {tmp_path}/pid;\nerror_log stderr notice;\n"
        f"events {{}}\nhttp {{\n{temporary}{example}\n}}\n"
    )
    check = subprocess.run([NGINX, "-t", "-c", configuration], capture_output=True, text=True, check=False)
    assert check.returncode == 0, check.stderr
    assert "[warn]" not in check.stderr.replace('the "user" directive', ""), check.stderr
    with (
        Process("nginx", [NGINX, "-c", str(configuration)], {}),
        httpx.Client(base_url=f"https://127.0.0.1:{tls}", verify=False) as client,  # noqa: S501 - the tests' own certificate
    ):
        until(lambda: answers(client))
        yield client


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


@needs_nginx
def test_the_example_of_a_proxy_works_and_bounds_what_strangers_send(proxy: httpx.Client) -> None:
    assert proxy.get("/healthz").headers["strict-transport-security"]
    assert proxy.get("/v1/jobs").status_code == 401  # keys are off, and the request came through a proxy
    assert proxy.post("/v1/jobs", content=b"x" * 17_000_000).status_code == 413
    statuses = {proxy.get("/healthz").status_code for _ in range(300)}
    assert statuses <= {200, 429}  # a fast client meets the limit of requests


def test_the_sizes_of_the_example_fit_the_settings() -> None:
    example, settings = text("deploy/nginx.conf"), Settings()
    megabytes = {int(size) for size in re.findall(r"client_max_body_size (\d+)m;", example)}

    def needed(number_of_bytes: int) -> int:
        return -(-number_of_bytes // 2**20)

    sizes = (settings.max_batch_body_bytes, settings.max_file_bytes + 2**20, 2 * settings.max_image_bytes + 2**21)
    assert all(any(needed(size) <= allowed <= needed(size) + 12 for allowed in megabytes) for size in sizes)
    (timeout,) = re.findall(r"proxy_read_timeout (\d+)s;", example)
    assert int(timeout) > settings.sync_timeout.total_seconds()
