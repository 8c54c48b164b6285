"""Functions have at most 60 lines, with their docstrings, and files at most 400.

Migrations may be longer: they are history (`NOT_OURS`).
"""

import ast
from collections.abc import Iterator

from tests.gates.project_files import ROOT, files

MAX_LINES_OF_FUNCTION = 60
MAX_LINES_OF_FILE = 400

LONG_FUNCTIONS = {
    "tests/fine_tuning/test_a_training.py test_a_training_goes_on_after_a_kill_and_its_model_draws": (
        "one story on one training, which takes most of its time"
    ),
}
LONG_FILES = {
    "clients/python/safelight_client/models.py": "made from the OpenAPI document",
    "clients/python/safelight_client/requests.py": "made from the OpenAPI document",
}
"""What may be longer, and why. An entry that is no longer needed is an error too."""


def long_functions(node: ast.AST) -> Iterator[str]:
    """The functions in a node that are too long. What is short itself is not searched."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt) and (child.end_lineno or 0) - child.lineno >= MAX_LINES_OF_FUNCTION:
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield child.name
            yield from long_functions(child)


def sources() -> dict[str, str]:
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in files() if name.endswith(".py")}


def test_functions_and_files_are_short() -> None:
    texts = sources()
    functions = {f"{file} {name}" for file, text in texts.items() for name in long_functions(ast.parse(text))}
    long_files = {file for file, text in texts.items() if len(text.splitlines()) > MAX_LINES_OF_FILE}

    assert sorted(functions ^ LONG_FUNCTIONS.keys()) == [], "cut these, or change LONG_FUNCTIONS"
    assert sorted(long_files ^ LONG_FILES.keys()) == [], "cut these, or change LONG_FILES"


def test_the_check_finds_what_it_looks_for() -> None:
    body = "    pass\n" * (MAX_LINES_OF_FUNCTION - 1)
    tree = ast.parse(f"def short():\n{body}class Class:\n  async def long():\n{body}    pass")
    assert list(long_functions(tree)) == ["long"]
