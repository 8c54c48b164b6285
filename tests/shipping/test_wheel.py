"""A wheel, built and used as an index would deliver it: one package, with catalogue, model and migrations."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.cli.terminal import final_job
from tests.processes import Process
from tests.shipping.files import ROOT, project_version
from tests.stack import Stack, free_port
from tests.waiting import PATIENCE

BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"
SOURCES = ("safelight", "api", "cli", "clients/python", "core", "migrations", "models", "training", "worker")
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
DATA = (
    "models/catalog.toml",
    "models/unclip-mini-words.json",
    "models/unclip-mini/model_index.json",
    "models/unclip-mini/tokenizer/tokenizer.json",
    "migrations/versions/0001_projects.py",
    "migrations/script.py.mako",
    "worker/moderation/words.toml",
    "core/images/decoder.py",
    "api/studio/assets/index.html",
    "api/studio/assets/ui/card.js",
    "safelight_client/py.typed",
)

TRAINING = "safelight/training/"  # what trained the bundled model; `worker/training` trains LoRAs
GUIDE = "safelight/api/guide/site/"


def build(directory: Path, *left_out: str) -> Path:
    """Build the wheel from a copy of the repository, without the files of some patterns."""
    source = directory / "source"
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", *left_out))
    for file in FILES:
        shutil.copy(ROOT / file, source)
    subprocess.run([sys.executable, "-c", BUILD, str(directory)], cwd=source, check=True, capture_output=True)
    (wheel,) = directory.glob("*.whl")
    return wheel


def test_a_wheel_has_one_package_and_serves_from_it(safelight: Stack, tmp_path: Path) -> None:
    wheel = build(tmp_path, "*.safetensors")
    site, elsewhere, port = tmp_path / "site", tmp_path / "elsewhere", free_port()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    (elsewhere / "api").mkdir(parents=True)
    (elsewhere / "api/__init__.py").write_text("raise RuntimeError('imported from the directory of the user')")
    environment = {**safelight.environment, "SAFELIGHT_PORT": str(port), "PYTHONPATH": str(site)}
    python = [sys.executable, "-m", "safelight"]

    version = subprocess.run(
        [*python, "--version"], cwd=elsewhere, env=os.environ | environment, capture_output=True, text=True
    )
    with Process("api", [*python, "api"], environment, directory=elsewhere) as api:
        api.until_says("Uvicorn running")
        place = Path(f"/proc/{api.pid}/cwd").resolve()
        job = httpx.post(f"http://127.0.0.1:{port}/v1/jobs", json={"prompt": "a cat", "size": "64x64"}).json()
        final = final_job(f"http://127.0.0.1:{port}/v1/jobs/{job['id']}")

    assert {name.split("/")[0] for name in names} == {"safelight", f"safelight-{project_version()}.dist-info"}
    assert {f"safelight/{path}" for path in DATA} <= set(names)
    code = [name for name in names if not name.startswith(GUIDE)]
    assert not [name for name in code if "__pycache__" in name or "/tests/" in name or name.startswith(TRAINING)]
    assert (f"{GUIDE}index.html" in names) == (ROOT / "api/guide/site/index.html").is_file()
    assert version.stdout == f"{project_version()}\n", version.stderr
    assert place == site / "safelight"
    assert final["status"] == "completed"


@pytest.mark.slow
def test_an_installed_wheel_generates_an_image_with_the_bundled_model(tmp_path: Path) -> None:
    wheel = build(tmp_path)
    venv, port = tmp_path / "venv", free_port()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    python = str(venv / "bin/python")
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"])
    install = ["-m", "pip", "--python", python, "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([sys.executable, *install], check=True, capture_output=True)
    environment = {"SAFELIGHT_PORT": str(port), "PYTHONPATH": ""}

    with Process("up", [str(venv / "bin/safelight"), "up"], environment, directory=tmp_path) as up:
        up.until_says("print(image.data[0].url)")
        job = httpx.post(f"http://127.0.0.1:{port}/v1/jobs", json={"prompt": "a cat"}, timeout=PATIENCE).json()
        final = final_job(job["urls"]["self"])

    assert (final["status"], final["model"]) == ("completed", "unclip-mini")
