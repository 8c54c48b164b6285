"""What `make` says where it cannot work, and that a second run does nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shipping.files import ROOT


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, also where make itself runs these tests."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment |= {"LC_ALL": "C", **variables}
    return subprocess.run(["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)


def write_program(path: Path, lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{lines}\n")
    path.chmod(0o755)


def test_make_alone_lists_every_target() -> None:
    page = make().stdout
    for target in ("up", "test", "lint", "format", "types", "bench", "bench-check", "train", "judge", "clean"):
        assert f"make {target} " in page


def test_a_python_that_is_too_old_gives_one_sentence(tmp_path: Path) -> None:
    old_python = tmp_path / "python3.9"
    write_program(old_python, '[ "$1" = --version ] && echo Python 3.9.2 && exit 0; exit 1')
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


CPU_INDEX = "--index-url http://torch.example/cpu torch"
DEFAULT_INDEX = "--no-deps torch"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is only one build of torch")
@pytest.mark.parametrize(
    ("variables", "has_nvidia_smi", "index_answers", "packages_from"),
    [
        ((), False, True, [CPU_INDEX]),
        ((), False, False, [DEFAULT_INDEX]),
        ((), True, True, [DEFAULT_INDEX]),
        (("NVIDIA_DEVICES=/dev/nvidia0",), False, True, [DEFAULT_INDEX]),
        (("TORCH=cpu",), True, True, [CPU_INDEX]),
        (("TORCH=cuda",), False, True, [DEFAULT_INDEX]),
    ],
)
def test_torch_is_the_cpu_build_where_there_is_no_nvidia_device(
    variables: tuple[str, ...], has_nvidia_smi: bool, index_answers: bool, packages_from: list[str], tmp_path: Path
) -> None:
    """Python is a stub that notes what pip is asked to install."""
    calls = tmp_path / "calls"
    write_program(tmp_path / "venv/bin/pip", "")
    python = f'if [ "$1" = -c ]; then exit {0 if index_answers else 1}; else echo "$@" >> {calls}; fi'
    write_program(tmp_path / "venv/bin/python", python)
    write_program(tmp_path / "path/nvidia-smi", f"exit {0 if has_nvidia_smi else 1}")
    result = make(
        f"{tmp_path}/venv/.installed-torch",
        *(f"VENV={tmp_path}/venv", "TORCH_CPU_INDEX=http://torch.example/cpu", "NVIDIA_DEVICES=", *variables),
        PATH=f"{tmp_path}/path:{os.environ['PATH']}",
    )
    assert result.returncode == 0, result.stderr
    assert [line.endswith(end) for line, end in zip(calls.read_text().splitlines(), packages_from, strict=True)] == [
        True
    ]
    assert ("torch comes from the default index" in result.stdout) == (not index_answers)


def test_a_build_of_torch_that_does_not_exist_gives_one_sentence(tmp_path: Path) -> None:
    write_program(tmp_path / "bin/pip", "")
    result = make(f"{tmp_path}/.installed-torch", f"VENV={tmp_path}", "TORCH=rocm")
    assert result.stderr.splitlines()[0] == "TORCH is 'rocm': set it to cpu or cuda."
