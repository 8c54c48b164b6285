"""What tests share lives in modules of its own: no module of tests imports from another."""

import ast
from pathlib import Path

import pytest

import tests

ROOT = Path(tests.__file__).parent


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_imported_from_a_module_of_tests(path: Path) -> None:
    imports = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom | ast.Import)]
    modules = [node.module or "" for node in imports if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in imports for alias in node.names]

    assert not [module for module in modules if module.rpartition(".")[2].startswith("test_")]
