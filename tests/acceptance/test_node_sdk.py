"""The official Node SDK, every method that Safelight has. Skipped where there is no Node.js, or no registry to ask."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.images import a_mask, an_image, encode
from tests.stack import Stack
from tests.waiting import PATIENCE

SCRIPT = Path(__file__).with_name("every_method.mjs")
PNG = "PNG"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the script and the SDK."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("the Node SDK is not tried: there is no node and npm here")
    place = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--no-audit", "--no-fund", "openai"]
    installed = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=PATIENCE, check=False)
    if installed.returncode != 0:
        pytest.skip(f"the Node SDK is not tried: npm cannot install it: {installed.stderr.strip()[-300:]}")
    shutil.copy(SCRIPT, place)
    (place / "image.png").write_bytes(encode(an_image()))
    (place / "mask.png").write_bytes(encode(a_mask()))
    return place


@pytest.fixture(scope="module")
def outcomes(folder: Path, safelight: Stack) -> dict[str, dict[str, Any]]:
    """What came of each method."""
    command = ["node", SCRIPT.name, f"{safelight.url}/v1", "image.png", "mask.png"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return {line.pop("method"): line for line in map(json.loads, ran.stdout.splitlines())}


@pytest.mark.parametrize(
    ("method", "expected_values"),
    [
        ("images.generate", {"kinds": [PNG, PNG], "seed": 7}),
        ("images.generate by link", {"status": 200}),
        ("images.edit", {"kinds": [PNG], "job": "job_"}),
        ("images.createVariation", {"kinds": [PNG, PNG]}),
        ("images.edit streamed", {"types": ["image_edit.completed"]}),
        ("error in a stream", {"api": True, "code": "generation_failed"}),
        ("error", {"bad": True, "param": "style", "code": "invalid_value"}),
        ("files", {"retrieved": "file", "listed": True, "same": True, "deleted": True}),
        ("models", {"models": ["fake", "slow", "elsewhere"], "alias": "fake"}),
        (
            "images.generate streamed",
            {"types": ["image_generation.partial_image"] * 2 + ["image_generation.completed"]},
        ),
    ],
)
def test_the_node_sdk_gets_what_it_asks_for(
    outcomes: dict[str, Any], method: str, expected_values: dict[str, Any]
) -> None:
    assert outcomes[method] == expected_values
