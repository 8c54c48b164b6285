"""Every module of core has a floor in import-linter's contract: a new one cannot escape it."""

import ast
import re
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import core

ROOT = Path(core.__file__).parent.parent


def floors() -> list[set[str]]:
    """The modules and packages of each floor, from the top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["name"] == "the floors of core")
    return [set(re.split(" [|:] ", floor)) for floor in contract["layers"]]


def modules() -> list[str]:
    """The modules of core, without those of packages themselves."""
    paths = [path.relative_to(ROOT) for path in sorted((ROOT / "core").rglob("*.py")) if path.name != "__init__.py"]
    return [".".join(path.with_suffix("").parts) for path in paths]


def floors_of(module: str) -> list[int]:
    """The floors that a module belongs to, by itself or by its package."""
    return [
        number
        for number, names in enumerate(floors())
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]


def test_every_module_has_one_floor() -> None:
    assert {module: floors_of(module) for module in modules() if len(floors_of(module)) != 1} == {}


def imported_names(path: Path) -> Iterator[str]:
    """The modules that a module imports, and the names in them, which may be modules."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_core_has_eight_floors_and_no_modules_import_each_other_in_a_circle() -> None:
    names = set(modules())
    paths = {name: ROOT / f"{name.replace('.', '/')}.py" for name in names}
    graph = {name: names.intersection(imported_names(path)) - {name} for name, path in paths.items()}

    assert len(floors()) == 8
    assert set(TopologicalSorter(graph).static_order()) == names  # raises CycleError
