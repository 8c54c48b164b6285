"""docs/migrate-from-dall-e.md: what is under an "After" in Python or curl runs, and prints a link that opens."""

import json
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import core
from core.catalog import load_catalog
from tests.images import a_mask, an_image, decode, encode
from tests.stack import Stack

ROOT = Path(core.__file__).parent.parent
PAGE = (ROOT / "docs" / "migrate-from-dall-e.md").read_text()
PROGRAMS = re.findall(r"^After[^\n]*:\n\n```python\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL)
CURLS = re.findall(r"^After:\n\n```sh\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8000"


def test_the_page_has_an_after_for_each_before() -> None:
    in_node = re.findall(r"^After:\n\n```js\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL)

    assert (len(PROGRAMS), len(CURLS), len(in_node)) == (4, 1, 1)
    assert len(re.findall(r"^Before:", PAGE, flags=re.MULTILINE)) == 6
    assert all(ADDRESS in program for program in [*PROGRAMS, *CURLS, *in_node])


@pytest.mark.parametrize(
    "program", PROGRAMS, ids=["Image.create", "images.generate", "create_variation", "images.edit"]
)
def test_a_program_of_the_page_prints_a_link_that_opens(safelight: Stack, tmp_path: Path, program: str) -> None:
    (tmp_path / "cat.png").write_bytes(encode(an_image()))
    (tmp_path / "mask.png").write_bytes(encode(a_mask()))
    local_program = program.replace(ADDRESS, safelight.url)

    ran = subprocess.run(
        [sys.executable, "-c", local_program], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert decode(httpx.get(ran.stdout.strip()).content).size == (256, 256)


def test_the_curl_of_the_page_prints_a_link_that_opens(safelight: Stack) -> None:
    (command,) = CURLS

    program = ["sh", "-c", command.replace(ADDRESS, safelight.url)]
    ran = subprocess.run(program, capture_output=True, text=True, check=False)

    (image,) = json.loads(ran.stdout)["data"]
    assert decode(httpx.get(image["url"]).content).size == (256, 256)


def test_the_lines_of_the_page_move_the_aliases(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    added = '\n[[models]]\nid = "sdxl"\ngenerator = "fake"\nfree_sizes = { multiple = 8, min_side = 256 }\n'
    path = tmp_path / "models" / "catalog.toml"
    path.write_text((ROOT / "models" / "catalog.toml").read_text() + added)
    earlier_aliases = load_catalog(ROOT / "models" / "catalog.toml").model("dall-e-2").aliases
    lines = [line for line in PAGE.splitlines() if line.startswith(("aliases=", "sed ", "echo "))]

    subprocess.run(["sh", "-c", "\n".join(lines)], cwd=tmp_path, check=True)

    catalog = load_catalog(path)
    assert (catalog.default, catalog.model("dall-e-2").id) == ("sdxl", "sdxl")
    assert catalog.model("sdxl").aliases == earlier_aliases
    assert catalog.model("unclip-mini").aliases == ()
