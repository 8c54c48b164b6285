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
    [
        *("a cat", "a dog", "ein Hund\t\\", "", "  ", "a\x00", "a\x7f", "\u2028 ", "x" * LONGEST, "x" * (LONGEST + 1)),
        *(None, 1, '"prompt": "a cat"', "cafe\u0301", "\ud83d", "\U0001f431", "," * 20_001, "-1, 2"),
    ]
)
seeds = st.sampled_from([None, 0, 1, 2**32 - 1, 2**32, -1, True, 1.0, "1"])
numbers = st.sampled_from([None, 1, 2, True, 1.0, "1"])
metadata = st.sampled_from([{"prompt": "a cat"}, {"a": '"prompt": "a cat"', "seed": "1"}, {'a "prompt': "a cat"}])
bodies = st.fixed_dictionaries({}, optional={"prompt": prompts, "seed": seeds, "n": numbers, "metadata": metadata})
forms = st.sampled_from(["{}", "\\", "compact", "sorted", "raw", "{} \t", "escaped key", "key twice"])


def as_line(number: int, body: dict[str, Any], form: str = "{}") -> bytes:
    line = {"custom_id": f"line-{number}", "method": "POST", "url": IMAGES, "body": body}
    text = json.dumps(line)
    match form:
        case "compact":
            text = json.dumps(line, separators=(",", ":"))
        case "sorted":
            text = json.dumps(line, sort_keys=True)
        case "raw":
            text = json.dumps(line, ensure_ascii=False)
        case "escaped key":
            text = text.replace('"prompt":', '"\\u0070rompt":')
        case "key twice":
            text = text.replace('"prompt":', '"\\u0070rompt": "a cat", "prompt":')
        case "\\":
            text = text.replace("/v1/", "\\/v1\\/")
        case "{} \t":
            text += " \t"
    return text.encode(errors="surrogatepass") + b"\n"


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


own = st.fixed_dictionaries({"prompt": prompts}, optional={"seed": seeds})
alike = st.builds(
    lambda body, values: [body | other for other in values], bodies, st.lists(own, min_size=2, max_size=5)
)
mixed_forms = st.lists(forms, min_size=6, max_size=6)
one_form = forms.map(lambda form: [form] * 6)


@settings(deadline=None)
@given(st.lists(bodies, min_size=2, max_size=6) | alike, one_form | mixed_forms)
def test_a_line_is_read_as_it_would_be_alone(lines: list[dict[str, Any]], line_forms: list[str]) -> None:
    errors, rows = check(read(*(as_line(number, body, line_forms[number - 1]) for number, body in enumerate(lines, 1))))

    errors_alone: list[LineError] = []
    rows_alone: list[dict[str, str]] = []
    for number, body in enumerate(lines, 1):
        alone, row = check(read(*[b"\n"] * (number - 1), as_line(number, body, line_forms[number - 1])))
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


def test_a_line_of_the_same_bytes_is_not_parsed_and_has_its_own_values() -> None:
    lines = list(read(*(as_line(number, {"prompt": f"a cat {number}", "seed": number}) for number in range(1, 4))))

    assert all(isinstance(line, Line) for line in lines)
    requests = [line.request for line in lines if isinstance(line, Line)]
    assert [(request.prompt, request.seed) for request in requests[1:]] == [("a cat 2", 2), ("a cat 3", 3)]
    assert all(request.request is requests[0].request for request in requests)
    assert [line.custom_id for line in lines if isinstance(line, Line)] == ["line-1", "line-2", "line-3"]


def test_a_key_that_ends_in_the_name_of_another_is_not_taken_for_it() -> None:
    body = '{"\\u0070rompt": "a cat", "metadata": {"a \\"prompt": "%s"}}'
    line = '{"custom_id": "%s", "method": "POST", "url": "%s", "body": ' + body + "}\n"
    raw = [(line % (number, IMAGES, value)).encode() for number, value in enumerate(("a cat", "a dog"), 1)]

    second = list(read(*raw))[1]

    assert isinstance(second, Line)
    request = second.request.with_own_prompt()
    assert (request.prompt, request.metadata) == ("a cat", {'a "prompt': "a dog"})


def test_an_escaped_key_is_the_prompt_and_not_a_later_key_of_that_name() -> None:
    body = '{"prom\\u0070t": "a cat", "metadata": {"prompt": "%s"}}'
    line = '{"custom_id": "%s", "method": "POST", "url": "%s", "body": ' + body + "}\n"
    raw = [(line % (number, IMAGES, value)).encode() for number, value in enumerate(("a cat", "a dog"), 1)]

    second = list(read(*raw))[1]

    assert isinstance(second, Line)
    request = second.request.with_own_prompt()
    assert (request.prompt, request.metadata) == ("a cat", {"prompt": "a dog"})


def test_lines_without_a_seed_get_different_seeds() -> None:
    _, rows = check(read(*(as_line(number, {"prompt": "a cat"}) for number in range(8))))

    assert len({row["seed"] for row in rows}) == 8
    assert all(json.loads(row["parameters"])["seed"] == int(row["seed"]) for row in rows)
