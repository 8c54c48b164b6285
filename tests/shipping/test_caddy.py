"""The example of a proxy, deploy/Caddyfile, run by Caddy in front of a Safelight."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from tests.factories import a_key
from tests.processes import Process
from tests.shipping.files import ROOT, text
from tests.stack import Stack, body, free_port
from tests.waiting import PATIENCE, until

CADDY = shutil.which("caddy") or ""
CERTIFICATE = ROOT / "tests" / "receiver.pem"
INVENTED = {"x-forwarded-host": "evil.example", "x-forwarded-prefix": "/evil", "forwarded": "host=evil.example"}

pytestmark = pytest.mark.skipif(not CADDY, reason="caddy is not installed")


@contextmanager
def proxy(safelight: Stack, directory: Path) -> Iterator[httpx.Client]:
    """Caddy with the example, with other ports and the tests' certificate."""
    tls = free_port()
    example = text("deploy/Caddyfile")
    for old, new in {
        "images.example.com {": f"https://127.0.0.1:{tls} {{\n\ttls {CERTIFICATE} {CERTIFICATE}",
        "127.0.0.1:8000": f"127.0.0.1:{safelight.port}",
        "not remote_ip 127.0.0.1 ::1": "not remote_ip ::1",
    }.items():
        assert old in example
        example = example.replace(old, new)
    configuration = directory / "Caddyfile"
    configuration.write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{example}")
    command = [CADDY, "run", "--config", str(configuration), "--adapter", "caddyfile"]
    check = subprocess.run([CADDY, "validate", *command[2:]], capture_output=True, text=True, check=False)
    assert (check.returncode, "Valid configuration" in check.stdout) == (0, True), check.stderr
    with (
        Process("caddy", command, {"XDG_DATA_HOME": str(directory), "XDG_CONFIG_HOME": str(directory)}),
        httpx.Client(base_url=f"https://127.0.0.1:{tls}", verify=False, timeout=PATIENCE) as client,  # noqa: S501 - the tests' own certificate
    ):
        until(lambda: answers(client))
        yield client


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_caddy_passes_on_jobs_events_uploads_and_links(safelight: Stack, tmp_path: Path) -> None:
    key = a_key(safelight.database)
    with proxy(safelight, tmp_path) as client:
        client.headers["authorization"] = f"Bearer {key}"
        address = str(client.base_url).rstrip("/")
        job = body(client.post("/v1/jobs", json={"prompt": "a cat", "size": "64x64"}, headers=INVENTED))
        with client.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
            assert "event: job.completed" in list(events.iter_lines())
        (image,) = body(client.get(f"/v1/jobs/{job['id']}"))["images"]
        with openai.OpenAI(
            base_url=f"{address}/v1", api_key=key, http_client=openai.DefaultHttpxClient(verify=False)
        ) as sdk:
            file = sdk.files.create(file=("large.jsonl", b"x" * 2_000_000), purpose="user_data")

        assert job["urls"]["self"] == f"{address}/v1/jobs/{job['id']}"
        assert image["url"].startswith(f"{address}/v1/images/")
        assert client.get(image["url"], headers={"authorization": ""}).headers["content-type"] == "image/png"
        assert client.get("/").headers["strict-transport-security"] == "max-age=31536000"
        assert client.get("/readyz").status_code == 403
        assert file.bytes == 2_000_000
