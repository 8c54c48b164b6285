"""Statuses: the transitions are complete, the docs show them, and only a few modules write a status."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import core
from core.status import (
    BATCH_FINAL,
    BATCH_TRANSITIONS,
    DELIVERY_TRANSITIONS,
    FINAL,
    FINE_TUNING_FINAL,
    FINE_TUNING_TRANSITIONS,
    JOB_TRANSITIONS,
    BatchStatus,
    DeliveryStatus,
    FineTuningStatus,
    JobStatus,
    mermaid,
)

ROOT = Path(core.__file__).parent.parent

WRITERS = {
    "jobs": {"core/jobs.py", "core/submits.py", "core/leases.py", "core/job_inserts.py"},
    "batches": {"core/batches/transitions.py"},
    "fine_tuning_jobs": {"core/fine_tuning/transitions.py"},
    "webhook_deliveries": {"core/outbox/deliveries.py", "core/outbox/attempts.py"},
}
"""The modules that write the status of a table's rows."""

CALLERS = {
    ("core.leases", "start"): {"core/reservations.py"},
    ("core.jobs", "put_back"): {"core/device_failures.py"},
}
"""Functions that write a status for their callers, and the other modules that may call them."""


def test_final_is_final_and_every_status_can_be_reached() -> None:
    assert set(FINAL) == {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.EXPIRED}
    assert set().union(*JOB_TRANSITIONS.values()) == set(JobStatus)
    assert set(BATCH_FINAL) == {
        BatchStatus.COMPLETED, BatchStatus.FAILED, BatchStatus.CANCELLED, BatchStatus.EXPIRED
    }  # fmt: skip
    assert set().union(*BATCH_TRANSITIONS.values()) == set(BatchStatus) - {BatchStatus.VALIDATING}
    assert set(FINE_TUNING_FINAL) == {FineTuningStatus.SUCCEEDED, FineTuningStatus.FAILED, FineTuningStatus.CANCELLED}
    assert set().union(*FINE_TUNING_TRANSITIONS.values()) == set(FineTuningStatus) - {FineTuningStatus.VALIDATING_FILES}
    assert set().union(*DELIVERY_TRANSITIONS.values()) == set(DeliveryStatus) - {DeliveryStatus.PENDING}


@pytest.mark.parametrize(
    ("page", "chart"),
    [
        ("02-jobs.md", mermaid(JOB_TRANSITIONS, JobStatus.QUEUED)),
        ("03-batches.md", mermaid(BATCH_TRANSITIONS, BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS)),
        ("04-webhooks.md", mermaid(DELIVERY_TRANSITIONS, DeliveryStatus.PENDING)),
        ("11-fine-tuning.md", mermaid(FINE_TUNING_TRANSITIONS, FineTuningStatus.VALIDATING_FILES)),
    ],
)
def test_the_documented_chart_is_the_one_in_the_code(page: str, chart: str) -> None:
    assert f"```mermaid\n{chart}\n```" in (ROOT / "docs" / page).read_text()


def test_only_the_verbs_and_the_bulk_insert_write_a_status() -> None:
    writers: dict[str, set[str]] = {table: set() for table in WRITERS}
    callers: dict[tuple[str, str], set[str]] = {function: set() for function in CALLERS}
    for package in ("api", "cli", "core", "worker"):
        for path in (ROOT / package).rglob("*.py"):
            tree = ast.parse(path.read_text())
            name = str(path.relative_to(ROOT))
            if any(_names_status(node) for node in ast.walk(tree)):
                for table in set(_written_tables(tree)) & set(WRITERS):
                    writers[table].add(name)
            for function in set(_names_of_modules(tree)) & set(CALLERS):
                callers[function].add(name)

    assert writers == WRITERS
    assert callers == CALLERS


def _names_status(node: ast.AST) -> bool:
    """Whether it gives the column a value: `.values(status=...)`, `{"status": ...}`, or a list of columns."""
    names: list[ast.expr | None] = []
    match node:
        case ast.Call(func=ast.Attribute(attr="values"), keywords=keywords):
            return any(keyword.arg == "status" for keyword in keywords)
        case ast.Dict(keys=keys):
            names = keys
        case ast.List(elts=elements) | ast.Tuple(elts=elements):
            names = [*elements]
    return any(isinstance(name, ast.Constant) and name.value == "status" for name in names)


def _names_of_modules(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """What is taken from modules of core, as `from core.leases import start` or as `leases.start`."""
    modules: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "core":
            for alias in node.names:
                modules[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield node.module or "", alias.name
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in modules:
                yield modules[name], attribute


def _written_tables(tree: ast.Module) -> Iterator[str]:
    """The tables of `insert(table)`, `update(table)`, and of SQL in strings."""
    aliases = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("core.tables")
        for alias in node.names
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="insert" | "update") | ast.Name(id="insert" | "update"),
                args=[ast.Name(id=name), *_],
            ):
                yield aliases.get(name, name)
            case ast.Constant(value=str(text)):
                yield from re.findall(r"\b(?:COPY|INSERT INTO|UPDATE) (\w+)", text)
