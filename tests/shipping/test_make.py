"""What `make` says where it cannot work, and that a second run does nothing."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.shipping.files import ROOT


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, also where make itself runs these tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment | {"LC_ALL": "C"}, capture_output=True, text=True
    )


def test_make_alone_lists_every_target() -> None:
    page = make().stdout
    for target in ("up", "test", "lint", "format", "types", "bench", "bench-check", "train", "judge", "clean"):
        assert f"make {target} " in page


def test_a_python_that_is_too_old_gives_one_sentence(tmp_path: Path) -> None:
    old_python = tmp_path / "python3.9"
    old_python.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 && exit 0\nexit 1\n')
    old_python.chmod(0o755)
    result = make("up", f"VENV={tmp_path}/venv", f"PYTHON={old_python}")
    sentence, makes_own = result.stderr.splitlines()
    assert sentence.startswith(f"Safelight needs Python 3.11 or newer, and {old_python} is Python 3.9.2")
    assert makes_own.startswith("make: ***")
    assert not (tmp_path / "venv").exists()


def test_a_python_that_is_not_there_gives_one_sentence(tmp_path: Path) -> None:
    sentence, _makes_own = make("up", f"VENV={tmp_path}/venv", "PYTHON=python0").stderr.splitlines()
    assert sentence.startswith("There is no python0 here")


@pytest.mark.parametrize("target", ["install", "dev"])
def test_what_is_installed_is_not_installed_again(target: str, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("bin/pip", ".installed-torch", ".installed-run", ".installed-dev"):
        (tmp_path / name).touch()
    assert "Nothing to be done" in make(target, f"VENV={tmp_path}").stdout
