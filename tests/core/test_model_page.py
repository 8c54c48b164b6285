"""docs/model.md quotes the code as it is, and its images exist and are small."""

import ast
import re
from pathlib import Path

import core

ROOT = Path(core.__file__).parent.parent
PAGE = ROOT / "docs" / "model.md"
TEXT = PAGE.read_text("utf-8")
QUOTATION = re.compile(r"\[`([^`]+)`\]\((\.\./[^)]+)\) `([\w.]+)`:\n\n```python\n(.*?)```", re.S)
QUOTATIONS = QUOTATION.findall(TEXT)
LARGEST_IMAGE = 150_000  # bytes


def source(path: Path, name: str) -> str:
    """The lines of a function or class, by its name such as `Attention.forward`; "" if there is none."""
    content = path.read_text("utf-8")
    node: ast.AST = ast.parse(content)
    for part in name.split("."):
        inside = [child for child in ast.iter_child_nodes(node) if getattr(child, "name", None) == part]
        if not inside:
            return ""
        node = inside[0]
    return ast.get_source_segment(content, node, padded=True) or ""


def test_each_quotation_is_lines_of_the_function_it_names_in_their_order() -> None:
    stale = []
    for code, link, name, quoted_code in QUOTATIONS:
        assert link == f"../{code}"
        lines = iter(source(PAGE.parent / link, name).splitlines())
        stale += [f"{code} {name}: {line}" for line in quoted_code.splitlines() if line not in lines]
    assert stale == []


def test_no_code_is_quoted_without_its_place() -> None:
    assert TEXT.count("```python\n") == len(QUOTATIONS) > 15


def test_every_file_that_the_page_names_in_code_is_there() -> None:
    names = set(re.findall(r"`((?:worker|training)/[\w/]+\.py)`", TEXT))
    assert [path for path in sorted(names) if not (ROOT / path).exists()] == []


def test_every_image_is_there_small_and_shown() -> None:
    names = set(re.findall(r"!\[[^\]]+\]\(images/([^)]+)\)", TEXT))
    directory = PAGE.parent / "images"
    file_names = {path.name for path in directory.glob("*.webp") if not path.name.startswith("studio-")}
    assert names <= file_names
    assert [name for name in file_names if (PAGE.parent / "images" / name).stat().st_size > LARGEST_IMAGE] == []
    assert file_names - names <= {"composed.webp", "variations.webp"}


def test_every_source_is_cited_by_its_arxiv_number() -> None:
    cited = re.findall(r"\[(\d{4}\.\d{5})\]\(https://arxiv\.org/abs/(\d{4}\.\d{5})\)", TEXT)
    assert len(cited) > 10
    assert [pair for pair in cited if pair[0] != pair[1]] == []
