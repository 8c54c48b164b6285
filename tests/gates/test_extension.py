"""A new parameter, generator or event type is one row: a copy of the project with that row has it everywhere.

Each test changes a copy of the real code and runs a program of `tests/gates/extensions/` in it. Nothing is patched.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import core

ROOT = Path(core.__file__).parent.parent
PROGRAMS = Path(__file__).parent / "extensions"
PACKAGES = ("api", "cli", "core", "migrations", "worker")

LAST_PARAMETER = "    partial_images: Annotated["
NEW_PARAMETER = "    crispness: Annotated[float | None, {rule}] = Field(None, description='How sharp the image is.')\n"

LAST_GENERATOR = '        GeneratorSpec(\n            "openai_images",'
NEW_GENERATOR = '        GeneratorSpec("echo", "worker.generators.echo:Echo", "Answers with grey images."),\n'
GENERATOR = '''
"""A generator of grey images."""

from PIL import Image

from core.generation import Memory


class Echo:
    """Makes images of one grey, which is the seed."""

    def __init__(self, model, settings):
        self._model = model

    def load(self):
        """Load nothing."""

    def unload(self):
        """Free nothing."""

    def memory(self):
        """Take no memory."""
        return Memory()

    def generate(self, requests, reporter):
        """Make the images."""
        reporter.step(1, 1)
        return [Image.new("RGB", (request.width, request.height), (request.seed,) * 3) for request in requests]

    def sharing_key(self, request):
        """All requests share a pass."""
        return ()

    def notices(self, request):
        """Say nothing."""
        return ()

    def receipt(self):
        """Name no device."""
        return {"device": "none"}
'''
MODEL = """
[[models]]
id = "echo"
generator = "echo"
sizes = ["64x64"]
"""

LAST_EVENT_TYPE = '        EventType("job.failed",'
NEW_EVENT_TYPE = '        EventType("job.previewed", JobStatus.IN_PROGRESS, True, "A preview of an image is there."),\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the code, without the weights."""
    for name in PACKAGES:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("models/catalog.toml", "docs/render.py"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def insert_before(path: Path, marker: str, text: str) -> None:
    source = path.read_text()
    assert source.count(marker) == 1, f"{path.name} has {marker!r} {source.count(marker)} times"
    path.write_text(source.replace(marker, text + marker))


def run(project: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a copy: the copy's packages are imported, and nothing of the environment's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SAFELIGHT_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env=environment | {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def check(project: Path, program: str) -> None:
    result = run(project, PROGRAMS / program)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_child_imports_the_copy(project: Path) -> None:
    modules = ", ".join(PACKAGES)
    result = run(project, "-c", f"import {modules}\nfor module in ({modules}): print(module.__file__)")

    assert result.stdout.split() == [str(project / name / "__init__.py") for name in PACKAGES], result.stderr


def test_a_new_parameter_is_everywhere(project: Path) -> None:
    insert_before(project / "core/parameters/job.py", LAST_PARAMETER, NEW_PARAMETER.format(rule="Rule()"))

    check(project, "new_parameter.py")


def test_a_model_whose_generator_lacks_a_parameter_refuses_it(project: Path) -> None:
    rule = "Rule(generators=frozenset({'diffusers_local'}))"
    insert_before(project / "core/parameters/job.py", LAST_PARAMETER, NEW_PARAMETER.format(rule=rule))

    check(project, "limited_parameter.py")


def test_a_parameter_without_a_rule_is_an_error(project: Path) -> None:
    insert_before(project / "core/parameters/job.py", LAST_PARAMETER, NEW_PARAMETER.format(rule="'no rule'"))

    result = run(project, "-c", "from core.parameters.job import rules; rules()")

    assert result.stderr.splitlines()[-1] == "TypeError: Parameters.crispness has no Rule"


def test_a_new_generator_generates_and_is_documented(project: Path) -> None:
    insert_before(project / "core/generators.py", LAST_GENERATOR, NEW_GENERATOR)
    (project / "worker/generators/echo.py").write_text(GENERATOR)
    with (project / "models/catalog.toml").open("a") as catalog:
        catalog.write(MODEL)

    check(project, "new_generator.py")

    (project / "docs/reference").mkdir()
    result = run(project, "docs/render.py")
    assert result.returncode == 0, result.stderr
    assert "## `echo`\n\nAnswers with grey images.\n" in (project / "docs/reference/catalog.md").read_text()


def test_a_new_event_type_is_everywhere(project: Path) -> None:
    insert_before(project / "core/event_types.py", LAST_EVENT_TYPE, NEW_EVENT_TYPE)

    check(project, "new_event.py")

    (project / "docs/reference").mkdir()
    result = run(project, "docs/render.py")
    assert result.returncode == 0, result.stderr
    assert "| `job.previewed` | yes | A preview" in (project / "docs/reference/events.md").read_text()
