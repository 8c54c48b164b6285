"""`make clients`: clients from the package index, each in a virtual environment of its own, against a Safelight."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clients.live import LIVE_CLIENTS, SDK, LiveClient
from tests.images import an_image, decode, encode
from tests.stack import Stack

INSTALL_SECONDS, RUN_SECONDS = 600, 300


def run_program(stack: Stack, python: Path, program: str, directory: Path) -> list[tuple[int, int]]:
    """Run a client's program. Returns the sizes of the images that it prints."""
    (directory / "cat.png").write_bytes(encode(an_image((256, 256)).convert("RGBA")))
    names = ("HOME", "PATH", "LANG", "TMPDIR")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    environment |= {"OPENAI_BASE_URL": f"{stack.url}/v1", "OPENAI_API_BASE": f"{stack.url}/v1", "OPENAI_API_KEY": "any"}
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch a list of prices otherwise
    ran = subprocess.run(
        [python, "-c", program],
        cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=RUN_SECONDS,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    return [
        decode(stack.client.get(line).content if line.startswith("http") else base64.b64decode(line)).size
        for line in ran.stdout.split()
    ]


def test_the_installed_sdk_does_what_the_other_versions_are_tested_for(safelight: Stack, tmp_path: Path) -> None:
    (client,) = (client for client in LIVE_CLIENTS if client.program == SDK)

    assert run_program(safelight, Path(sys.executable), SDK, tmp_path) == list(client.sizes)


@pytest.mark.clients
@pytest.mark.parametrize("live_client", LIVE_CLIENTS, ids=lambda client: client.name)
def test_a_client_as_its_authors_publish_it(safelight: Stack, tmp_path: Path, live_client: LiveClient) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *live_client.packages]
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS)

    assert run_program(safelight, python, live_client.program, tmp_path) == list(live_client.sizes)
