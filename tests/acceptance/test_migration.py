"""docs/migrate-from-dall-e.md: every program under an "After" runs, and prints a link that opens."""

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import core
from tests.images import an_image, decode, encode
from tests.stack import Stack

PAGE = (Path(core.__file__).parent.parent / "docs" / "migrate-from-dall-e.md").read_text()
PROGRAMS = re.findall(r"^After[^\n]*:\n\n```python\n(.*?)```", PAGE, flags=re.MULTILINE | re.DOTALL)
ADDRESS = "http://127.0.0.1:8000"


def test_the_page_has_an_after_for_each_before() -> None:
    assert len(PROGRAMS) == len(re.findall(r"^Before:", PAGE, flags=re.MULTILINE)) == 3
    assert all(ADDRESS in program for program in PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS, ids=["Image.create", "images.generate", "create_variation"])
def test_a_program_of_the_page_prints_a_link_that_opens(safelight: Stack, tmp_path: Path, program: str) -> None:
    (tmp_path / "cat.png").write_bytes(encode(an_image()))
    local_program = program.replace(ADDRESS, safelight.url)

    ran = subprocess.run(
        [sys.executable, "-c", local_program], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr
    assert decode(httpx.get(ran.stdout.strip()).content).size == (256, 256)
