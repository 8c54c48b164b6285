"""`make clients`: clients from the package indexes, each in an environment of its own, against a Safelight."""

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.live import LIVE_CLIENTS, SDK_SIZES, LiveClient
from tests.clients.python_clients import SDK
from tests.images import an_image, decode, encode
from tests.stack import Stack

INSTALL_SECONDS, RUN_SECONDS = 600, 300


def run_program(stack: Stack, command: list[str | Path], directory: Path) -> list[tuple[int, int]]:
    """Run a client's program. Returns the sizes of the images that it prints."""
    (directory / "cat.png").write_bytes(encode(an_image((256, 256)).convert("RGBA")))
    names = ("HOME", "PATH", "LANG", "TMPDIR")
    environment = {name: os.environ[name] for name in names if name in os.environ}
    environment |= {"OPENAI_BASE_URL": f"{stack.url}/v1", "OPENAI_API_BASE": f"{stack.url}/v1", "OPENAI_API_KEY": "any"}
    environment["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would fetch a list of prices otherwise
    ran = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=RUN_SECONDS
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return [
        decode(stack.client.get(line).content if line.startswith("http") else base64.b64decode(line)).size
        for line in ran.stdout.split()
    ]


def install_python(client: LiveClient, directory: Path) -> tuple[list[str | Path], list[str]]:
    """Install a Python client. Returns the command that runs its program, and the versions of its packages."""
    subprocess.run([sys.executable, "-m", "venv", directory / "venv"], check=True)
    python = directory / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", *client.packages], check=True, timeout=INSTALL_SECONDS)
    listing = subprocess.run([*pip, "list", "--format=json"], check=True, capture_output=True, text=True).stdout
    versions = {package["name"].lower(): package["version"] for package in json.loads(listing)}
    names = [package.partition("=")[0].partition("<")[0].partition("[")[0] for package in client.packages]
    return [python, "-c", client.program], [f"{name} {versions[name]}" for name in names]


def install_node(client: LiveClient, directory: Path) -> tuple[list[str | Path], list[str]]:
    """Install a Node.js client, as `install_python` does."""
    node = shutil.which("node")
    assert node is not None, "node is not installed"
    program = directory / "program.mjs"
    program.write_text(client.program)
    (directory / "package.json").write_text("{}")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", *client.packages]
    subprocess.run(command, cwd=directory, check=True, timeout=INSTALL_SECONDS)
    manifests = [directory / "node_modules" / name / "package.json" for name in client.packages]
    versions = [json.loads(manifest.read_text())["version"] for manifest in manifests]
    return [node, program], [f"{name} {version}" for name, version in zip(client.packages, versions, strict=True)]


def test_the_installed_sdk_does_what_the_other_versions_are_tested_for(safelight: Stack, tmp_path: Path) -> None:
    assert run_program(safelight, [sys.executable, "-c", SDK], tmp_path) == list(SDK_SIZES)


@pytest.mark.clients
@pytest.mark.parametrize("live_client", LIVE_CLIENTS, ids=lambda client: client.name)
def test_a_client_as_its_authors_publish_it(
    safelight: Stack,
    tmp_path: Path,
    live_client: LiveClient,
    record_property: Callable[[str, object], None],
) -> None:
    install = install_node if live_client.language == "node" else install_python
    command, versions = install(live_client, tmp_path)
    record_property("versions", ", ".join(versions))

    assert run_program(safelight, command, tmp_path) == list(live_client.sizes)
