"""An error that tenants see does not quote another error: its text may name servers, buckets, paths and accounts.

Errors of jobs may: `GenerationError` redacts its message (`core/telemetry/redaction.py`). Commands quote errors to
the operator.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import core

ROOT = Path(core.__file__).parent.parent
ALLOWED = {
    "api/errors.py": "what Starlette says about a malformed request",
    "core/batches/input_file.py": "what the CSV reader says about the tenant's own file",
    "core/catalog/__init__.py": "read at the start, by the operator",
    "core/egress.py": "about the tenant's own URL",
    "core/images/decode.py": "what Pillow says about the tenant's own image",
}
QUOTES = {"str", "repr", "first_line"}


def quoting_raises(tree: ast.AST) -> Iterator[int]:
    """The lines that raise an error with the text of an exception that was caught."""
    for handler in ast.walk(tree):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None:
            continue
        for node in (part for part in ast.walk(handler) if isinstance(part, ast.Raise)):
            arguments = node.exc.args if isinstance(node.exc, ast.Call) else []
            if any(quotes(part, handler.name) for argument in arguments for part in ast.walk(argument)):
                yield node.lineno


def quotes(node: ast.AST, name: str) -> bool:
    """Whether an expression makes text of a variable."""
    match node:
        case ast.FormattedValue(value=ast.Name(id=variable)):
            return variable == name
        case ast.Call(func=ast.Name(id=function), args=[ast.Name(id=variable)]):
            return function in QUOTES and variable == name
    return False


def test_no_error_of_a_request_quotes_another() -> None:
    lines = {
        str(path.relative_to(ROOT)): list(quoting_raises(ast.parse(path.read_text())))
        for package in ("api", "core")
        for path in sorted((ROOT / package).rglob("*.py"))
    }

    assert {path: numbers for path, numbers in lines.items() if numbers and path not in ALLOWED} == {}


def test_the_check_finds_what_it_looks_for() -> None:
    source = """
try:
    f()
except OSError as error:
    raise Problem(f"No: {error}") from error
except ValueError as error:
    raise Problem(first_line(error))
except KeyError as error:
    raise Problem("No.") from error
"""
    assert list(quoting_raises(ast.parse(source))) == [5, 7]
