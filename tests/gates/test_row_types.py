"""A misspelt column of a row is a type error, and rows reach the programs only as the classes of `core/rows/job.py`."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import core

ROOT = Path(core.__file__).parent.parent
PROGRAMS = ("api", "worker", "cli")

MISSPELT = '''
"""What a micro-batch reads of a job, each name misspelt."""

from core.rows.job import JobRow


def read(job: JobRow) -> tuple[object, ...]:
    return job.idd, job.atempts, job.parameters.sead


def read_correctly(job: JobRow) -> tuple[str, int, int]:
    return job.id, job.attempts, job.parameters.seed
'''


def test_mypy_reports_misspelt_columns(tmp_path: Path) -> None:
    module = tmp_path / "misspelt.py"
    module.write_text(MISSPELT)

    run = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--config-file", ROOT / "pyproject.toml",
            "--cache-dir", tmp_path / "cache", "--no-error-summary", "--hide-error-context", "--no-pretty", module,
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip

    errors = re.findall(r'error: "(\w+)" has no attribute "(\w+)".*\[attr-defined\]', run.stdout)
    assert errors == [("JobRow", "idd"), ("JobRow", "atempts"), ("ResolvedParameters", "sead")], run.stdout + run.stderr
    assert len(run.stdout.splitlines()) == 3, run.stdout


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def untyped_rows(tree: ast.AST) -> list[int]:
    """The lines that name `Row[Any]`, with or without a module before it."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and re.fullmatch(r"(\w+\.)?Row\[Any\]", ast.unparse(node))
    ]


def imported_modules(tree: ast.AST) -> set[str]:
    """The top-level packages that a module imports, also inside functions."""
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.append(node.module or "")
    return {name.partition(".")[0] for name in names}


def test_rows_have_types() -> None:
    without_types = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources("core", *PROGRAMS)
        if path != ROOT / "core" / "db.py"  # it makes the typed rows of SQLAlchemy's
        for line in untyped_rows(ast.parse(path.read_text()))
    ]

    assert without_types == []


def test_programs_import_no_sqlalchemy() -> None:
    importers = [
        str(path.relative_to(ROOT))
        for path in sources(*PROGRAMS)
        if "sqlalchemy" in imported_modules(ast.parse(path.read_text()))
    ]

    assert importers == []


def test_the_checks_find_what_they_look_for() -> None:
    assert untyped_rows(ast.parse("def f(row: sa.Row[Any]) -> Row[Any]: ...")) == [1, 1]
    assert imported_modules(ast.parse("def f():\n    from sqlalchemy.orm import Session\n    import os.path")) == {
        "sqlalchemy",
        "os",
    }
