"""Lines that share a request give the same jobs and the same errors as lines that are parsed alone."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.batches.input_file import parse_lines
from core.batches.line import Line, ReadOptions
from core.batches.line_parser import LineParser
from core.batches.transitions import LineError
from core.batches.validation import BatchCheck
from core.catalog import load_catalog
from core.job_inserts import COLUMNS, JobRows
from core.settings import Settings
from core.tables import DEFAULT_PROJECT

SETTINGS = Settings()
CATALOG = load_catalog(SETTINGS.catalog_path)
LONGEST = CATALOG.model(None).max_prompt_chars
IMAGES = "/v1/images/generations"
END = datetime.now(UTC) + timedelta(hours=1)

prompts = st.sampled_from(
    ["a cat", "a dog", "ein Hund\t\\", "", "  ", "a\x00", "x" * LONGEST, "x" * (LONGEST + 1), None, 1]
)
seeds = st.sampled_from([None, 0, 1, 2**32 - 1, 2**32, -1, True, 1.0, "1"])
numbers = st.sampled_from([None, 1, 2, True, 1.0, "1"])
bodies = st.fixed_dictionaries({}, optional={"prompt": prompts, "seed": seeds, "n": numbers})


def as_line(number: int, body: dict[str, Any]) -> bytes:
    line = {"custom_id": f"line-{number}", "method": "POST", "url": IMAGES, "body": body}
    return json.dumps(line).encode() + b"\n"


def read(*lines: bytes) -> Iterator[Line | LineError]:
    return parse_lines("a.jsonl", iter(lines), ReadOptions(IMAGES, max_bytes=100_000))


def check(lines: Iterator[Line | LineError]) -> tuple[list[LineError], list[dict[str, str]]]:
    """The errors of the lines, or else the rows of their jobs."""
    with JobRows("batch_1", END) as rows:
        checked = BatchCheck(CATALOG, SETTINGS, DEFAULT_PROJECT, lambda _: {}, rows)
        for line in lines:
            checked.add(line)
        cells = b"".join(rows.chunks(dict.fromkeys(rows.flows, 0.0))).decode().splitlines()
        return checked.errors, [dict(zip(COLUMNS, row.split("\t"), strict=True)) for row in cells]


@settings(deadline=None)
@given(st.lists(bodies, min_size=2, max_size=6))
def test_a_line_is_read_as_it_would_be_alone(lines: list[dict[str, Any]]) -> None:
    errors, rows = check(read(*(as_line(number, body) for number, body in enumerate(lines, 1))))

    errors_alone: list[LineError] = []
    rows_alone: list[dict[str, str]] = []
    for number, body in enumerate(lines, 1):
        alone, row = check(read(*[b"\n"] * (number - 1), as_line(number, body)))
        errors_alone += alone
        rows_alone += row
    assert errors == errors_alone
    if not errors:
        for index, body in enumerate(lines):
            random = {"seed", "parameters"} if body.get("seed") is None else set()
            compared = set(COLUMNS) - {"id", "batch_index", "fair_rank"} - random
            assert all(rows[index][name] == rows_alone[index][name] for name in compared)


def test_consecutive_lines_that_differ_in_prompt_and_seed_share_a_request() -> None:
    parser = LineParser(IMAGES, {})
    first = parser.parse({"prompt": "a cat", "n": 2, "seed": 1})
    second = parser.parse({"prompt": "a dog", "n": 2, "seed": 2})
    other = parser.parse({"prompt": "a dog", "n": 3, "seed": 2})

    assert second.request is first.request
    assert (second.prompt, second.seed) == ("a dog", 2)
    assert (other.request.n, other.request.prompt, other.request.seed) == (3, "a dog", 2)


def test_lines_without_a_seed_get_different_seeds() -> None:
    _, rows = check(read(*(as_line(number, {"prompt": "a cat"}) for number in range(8))))

    assert len({row["seed"] for row in rows}) == 8
    assert all(json.loads(row["parameters"])["seed"] == int(row["seed"]) for row in rows)
