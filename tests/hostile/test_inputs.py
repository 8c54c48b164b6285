"""Hostile inputs, as data: each has its outcome, none stops the API, and none makes it grow."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.edge.wire import Answer, exchange, request
from tests.images import upload
from tests.processes import Process
from tests.stack import Stack, free_port

GROUPS: list[dict[str, Any]] = tomllib.loads(Path(__file__).with_name("inputs.toml").read_text())["groups"]
MAX_GROWTH = 100_000_000
"""Bytes by which the API may grow; a body may have a megabyte."""

JSON = "Content-Type: application/json"
FORM = "Content-Type: multipart/form-data; boundary=boundary"


@dataclass(frozen=True, slots=True)
class Input:
    """A hostile value and the request in which it is sent."""

    method: str
    path: str
    field: str
    base: str
    value: str


def expand(text: str) -> str:
    """`<a*3>` is aaa. The last character before `>` that may be repeated is any but `*`."""
    return re.sub(r"<([^*]{1,16})\*(\d+)>", lambda match: match[1] * int(match[2]), text)


def in_body(case: Input) -> bytes:
    fields = ", ".join(filter(None, (case.base, f"{json.dumps(case.field)}: {case.value}")))
    return whole(case, f"{{{fields}}}".encode())


def in_text(case: Input) -> bytes:
    return whole(case, case.value.encode())


def whole(case: Input, content: bytes, *lines: str) -> bytes:
    return request(case.method, case.path, JSON, *lines, body=content)


def in_query(case: Input) -> bytes:
    return request(case.method, f"{case.path}?{case.field}={case.value}")


def in_path(case: Input) -> bytes:
    return request(case.method, case.path.replace("{}", case.value))


def in_header(case: Input) -> bytes:
    lines = [f"{case.field}: {case.value}"] + ([JSON] if case.base and case.field != "content-type" else [])
    return request(case.method, case.path, *lines, body=f"{{{case.base}}}".encode() if case.base else None)


def in_form(case: Input, name: str, content: str) -> bytes:
    parts = [
        f'--boundary\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in json.loads(f"{{{case.base}}}").items()
    ]
    parts.append(
        f'--boundary\r\nContent-Disposition: form-data; name="{case.field}"; filename="{name}"\r\n\r\n{content}\r\n'
    )
    return request(case.method, case.path, FORM, body="".join([*parts, "--boundary--\r\n"]).encode())


PLACES: Mapping[str, Callable[[Input], bytes]] = {
    "body": in_body,
    "text": in_text,
    "query": in_query,
    "path": in_path,
    "header": in_header,
    "file": lambda case: in_form(case, "a.png", case.value),
    "name": lambda case: in_form(case, case.value, "x"),
}


@pytest.fixture(scope="module")
def api(safelight: Stack) -> Iterator[tuple[int, Process]]:
    """An API for these inputs alone, whose memory is measured."""
    port = free_port()
    with safelight.apart():
        yield port, safelight.api(port)


def name_of(group: Mapping[str, Any]) -> str:
    return f"{group['request']} {group['place']} {group.get('field', '')} {group['outcome']}"


def inputs_of(group: Mapping[str, Any]) -> Iterator[Input]:
    method, _, path = group["request"].partition(" ")
    for value in group["values"]:
        yield Input(method, path, group.get("field", ""), group.get("base", ""), expand(value))


def outcome_of(answer: Answer | None) -> str:
    """The status, and code and param of an error, as they stand in the data."""
    if answer is None:
        return "closed"
    error = json.loads(answer.content)["error"] if answer.status >= 400 else {}
    return " ".join([str(answer.status), *(str(error[name]) for name in ("code", "param") if name in error)])


def fits(outcome: str, expected: str) -> bool:
    """Whether an outcome is the expected one; `*` stands for any param."""
    return outcome.startswith(expected[:-1]) if expected.endswith(" *") else outcome == expected


@pytest.mark.parametrize("group", [group for group in GROUPS if group["place"] != "line"], ids=name_of)
def test_a_hostile_input_has_its_outcome(api: tuple[int, Process], safelight: Stack, group: dict[str, Any]) -> None:
    port, process = api
    memory = psutil.Process(process.pid).memory_info().rss
    count = safelight.count()
    wrong = {}

    for case in inputs_of(group):
        outcome = outcome_of(answer := exchange(port, PLACES[group["place"]](case)))
        if not fits(outcome, group["outcome"]) or (answer and b" object at 0x" in answer.content):
            wrong[case.value[:80]] = outcome, answer and answer.content[:200]

    assert wrong == {}
    if not group["outcome"].startswith("2"):
        assert safelight.count() == count
    assert psutil.Process(process.pid).memory_info().rss - memory < MAX_GROWTH
    assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200


@pytest.mark.parametrize("group", [group for group in GROUPS if group["place"] == "line"], ids=name_of)
def test_a_hostile_line_of_a_batch_has_its_outcome(safelight: Stack, group: dict[str, Any]) -> None:
    wrong = {}
    for case in inputs_of(group):
        file = upload(safelight, case.value.encode(), "a.jsonl", purpose="batch")
        answer = safelight.client.post(
            "/v1/batches", json={"input_file_id": file["id"], "endpoint": "/v1/jobs", "dry_run": True}
        )
        errors = (answer.json().get("errors") or {}).get("data", [{}])
        if (answer.status_code, errors[0].get("code") if errors else None) != (200, group["outcome"]):
            wrong[case.value[:80]] = answer.text[:200]

    assert wrong == {}


def test_the_api_wrote_no_traceback(api: tuple[int, Process]) -> None:
    """Runs last in this file: of all inputs above, none was an error of the server."""
    assert "Traceback" not in api[1].output()


def test_there_are_at_least_300_inputs() -> None:
    assert sum(len(group["values"]) for group in GROUPS) >= 300
