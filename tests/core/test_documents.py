"""Pages agree with the code: generated ones are up to date, links, paths and modules exist."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import core
from clients import generate

ROOT = Path(core.__file__).parent.parent
FOLDERS = (
    "api",
    "bench",
    "cli",
    "clients",
    "core",
    "deploy",
    "docs",
    "migrations",
    "models",
    "tests",
    "training",
    "worker",
)
PAGES = sorted(
    [
        path
        for path in [*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))]
        if "node_modules" not in path.parts
    ],
    key=str,
)

LINK = re.compile(r"\]\(([^)#\s]+)")
PATH = re.compile(rf"(?<![\w./-])(?:\.\./)*((?:{'|'.join(FOLDERS)})/[\w./@-]*[\w/])")
MODULE = re.compile(r"(?:python -m|celery -A) ([a-z_.]+[a-z])")
PLACEHOLDER = "NNNN"
"""Stands for a number in the name of a file that does not exist yet."""


def test_the_reference_is_what_the_code_says() -> None:
    result = subprocess.run(
        [sys.executable, "docs/render.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert result.returncode == 0, result.stderr


def test_the_guide_can_be_built_and_its_links_lead_somewhere() -> None:
    result = subprocess.run([sys.executable, "docs/guide.py"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def test_the_clients_have_the_types_of_the_openapi_document() -> None:
    assert generate.find_differences() == [], "run python clients/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_link_between_pages_leads_somewhere(page: Path) -> None:
    links = {link for link in LINK.findall(page.read_text()) if "://" not in link}

    assert [link for link in sorted(links) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_path_in_a_page_exists(page: Path) -> None:
    paths = {path for path in PATH.findall(page.read_text()) if PLACEHOLDER not in path}

    assert [path for path in sorted(paths) if not (ROOT / path).exists() and not (page.parent / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_module_that_a_page_starts_exists(page: Path) -> None:
    modules = set(MODULE.findall(page.read_text()))

    assert [name for name in sorted(modules) if find_spec(name) is None] == []
