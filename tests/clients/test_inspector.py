"""`make clients`: MCP Inspector, the protocol's own test client, against `/mcp` with a key and `safelight mcp`."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.clients.live import INSPECTOR_IMAGES, INSPECTORS
from tests.factories import a_key
from tests.images import decode
from tests.processes import python
from tests.stack import Stack, free_port

PACKAGE = "@modelcontextprotocol/inspector"
INSTALL_SECONDS, RUN_SECONDS = 600, 120
TOOL_FAILED = 5
"""The exit code of the Inspector for a result with `isError`."""


@dataclass(frozen=True, slots=True)
class Inspector:
    """An installed Inspector, and a Safelight that requires a key."""

    program: Path
    version: str
    url: str
    key: str

    def run(self, name: str, *options: str, key: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run it by one of the ways of INSPECTORS."""
        key = self.key if key is None else key
        era = ["--protocol-era", INSPECTORS[name].era, "--connect-timeout", f"{RUN_SECONDS}000"]
        if INSPECTORS[name].is_stdio:
            variables = {"SAFELIGHT_URL": self.url, "SAFELIGHT_API_KEY": key, "PYTHONPATH": os.environ["PYTHONPATH"]}
            server = [part for pair in variables.items() for part in ("-e", "=".join(pair))]
            target = ["--", *python("-m", "cli.main", "mcp")]
        else:
            server = ["--server-url", f"{self.url}/mcp", "--transport", "http"]
            server += ["--header", f"Authorization: Bearer {key}"]
            target = []
        command = [str(self.program), "--cli", *server, *era, *options, *target]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_SECONDS)

    def read(self, name: str, *options: str) -> dict[str, Any]:
        """What it prints, without a word of complaint."""
        ran = self.run(name, *options)
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr[-3000:]
        printed: dict[str, Any] = json.loads(ran.stdout)
        return printed

    def call(self, name: str, tool: str, **arguments: object) -> dict[str, Any]:
        """A result of a tool."""
        return self.read(name, *calling(tool, arguments))


def calling(tool: str, arguments: dict[str, object]) -> Sequence[str]:
    return ["--method", "tools/call", "--tool-name", tool, "--tool-args-json", json.dumps(arguments)]


@pytest.fixture(scope="module")
def inspector(safelight: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inspector]:
    folder = tmp_path_factory.mktemp("inspector")
    assert shutil.which("npm"), "npm is not installed"
    (folder / "package.json").write_text("{}")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", f"{PACKAGE}@latest"]
    subprocess.run(install, cwd=folder, check=True, timeout=INSTALL_SECONDS)
    version = json.loads((folder / "node_modules" / PACKAGE / "package.json").read_text())["version"]
    port = free_port()
    with safelight.apart():
        safelight.api(port, SAFELIGHT_AUTH="on")
        program = folder / "node_modules" / ".bin" / "mcp-inspector"
        yield Inspector(program, version, f"http://127.0.0.1:{port}", a_key(safelight.database))


@pytest.mark.clients
@pytest.mark.parametrize("name", INSPECTORS)
def test_the_inspector_finds_no_fault_and_draws_edits_and_follows_a_batch(
    inspector: Inspector, name: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("versions", f"{PACKAGE} {inspector.version}")

    listing = inspector.read(name, "--method", "tools/list", "--strict")
    drawn = inspector.call(name, "generate_image", prompt="a cat", size="64x64")
    image = drawn["structuredContent"]["images"][0]["image_id"]
    edited = inspector.call(name, "edit_image", prompt="a dog", image=image, size="64x64")
    batch = inspector.call(name, "generate_batch", prompts=["a cat", "a dog"], size="64x64")["structuredContent"]
    followed = inspector.call(name, "batch_status", batch_id=batch["batch_id"], wait_seconds=50)["structuredContent"]
    refused = inspector.run(name, *calling("generate_image", {"prompt": "a cat", "size": "1x1"}))
    load = ["--load", "--load-requests", "20", *calling("list_models", {})]
    loaded = inspector.read(name, *load)

    assert {tool["name"] for tool in listing["tools"]} >= {"generate_image", "edit_image", "generate_batch"}
    images = [part for result in (drawn, edited) for part in result["content"] if part["type"] == "image"]
    assert [decode(base64.b64decode(part["data"])).size for part in images] == [(64, 64)] * INSPECTOR_IMAGES
    assert (followed["status"], followed["counts"]["completed"]) == ("completed", 2)
    assert (refused.returncode, "choose from 64x64" in refused.stdout) == (TOOL_FAILED, True)
    assert (loaded["ok"], loaded["errors"], loaded["toolErrors"]) == (20, 0, 0)
    assert inspector.run(name, "--method", "tools/list", key="sl_wrong").returncode != 0
