"""Slow calls run in threads of their own purpose (`core/threads.py`), never in those that all share."""

import ast
from pathlib import Path

import core

ROOT = Path(core.__file__).parent.parent


def test_nothing_uses_the_threads_that_all_purposes_would_share() -> None:
    uses = []
    for package in ("api", "core"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and is_shared(node):
                    uses.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert uses == [], "use FairThreads instead, by project"


def is_shared(call: ast.Call) -> bool:
    name = ast.unparse(call.func).rpartition(".")[2]
    if name in ("to_thread", "run_in_threadpool", "run_sync", "async_stream_zip"):
        return True
    return name == "run_in_executor" and ast.unparse(call.args[0]) == "None"
