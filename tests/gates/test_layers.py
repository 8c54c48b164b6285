"""Every module of core has a floor in import-linter's contract: a new one cannot escape it."""

import tomllib
from pathlib import Path

import core

ROOT = Path(core.__file__).parent.parent


def floors() -> list[set[str]]:
    """The modules and packages of each floor, from the top."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (contract,) = (contract for contract in contracts if contract["name"] == "the floors of core")
    return [set(floor.split(" | ")) for floor in contract["layers"]]


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
