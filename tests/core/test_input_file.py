"""A batch's input file is read as lines whatever its chunks are, and every wrong line is reported by its number."""

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.batches.input_file import max_line_bytes, parse_lines
from core.batches.input_summary import Format
from core.batches.line import Line, ReadOptions
from core.batches.line_errors import MAX_MESSAGE_CHARS
from core.batches.line_parser import LineRequest
from core.batches.requests import JOBS_ENDPOINT, MAX_LINES
from core.batches.transitions import LineError
from core.batches.validation import MAX_ERRORS, BatchCheck
from core.catalog import load_catalog
from core.errors import StorageUnavailable
from core.requests.job import JobRequest
from core.settings import Settings
from core.tables import DEFAULT_PROJECT

IMAGES = "/v1/images/generations"
OPTIONS = ReadOptions(IMAGES, max_bytes=400)
SETTINGS = Settings()
CATALOG = load_catalog(SETTINGS.catalog_path)


def a_line(custom_id: str = "a", **fields: Any) -> bytes:
    body = fields.pop("body", {"prompt": "a cat"})
    return (
        json.dumps({"custom_id": custom_id, "method": "POST", "url": IMAGES, "body": body, **fields}).encode() + b"\n"
    )


def read_lines(kind: Format, *chunks: bytes, options: ReadOptions = OPTIONS) -> list[Line | LineError]:
    return list(parse_lines(f"a.{kind}", iter(chunks), options))


def messages(kind: Format, *chunks: bytes, options: ReadOptions = OPTIONS) -> list[tuple[int | None, str]]:
    """Line numbers, with the custom_id of what is right and the message about what is wrong."""
    return [
        (line.number, line.custom_id) if isinstance(line, Line) else (line["line"], line["message"])
        for line in read_lines(kind, *chunks, options=options)
    ]


def check_lines(lines: Iterator[Line | LineError]) -> BatchCheck:
    check = BatchCheck(CATALOG, SETTINGS, DEFAULT_PROJECT, lambda request: {})
    for line in lines:
        if not check.add(line):
            break
    return check


FILES: list[tuple[Format, bytes]] = [
    (
        "jsonl",
        b"\xef\xbb\xbf" + a_line() + b"\r\n" + a_line("b", body={"prompt": "ä 猫"}) + b"{\n" + a_line("c").strip(),
    ),
    ("jsonl", a_line() + a_line("b", body={"prompt": "x" * 400}) + a_line("c")),
    ("jsonl", a_line("c", body={"prompt": "x" * 400})[:401]),
    ("jsonl", a_line().decode().encode("utf-16")),
    ("csv", b'\xef\xbb\xbfprompt,custom_id,seed\r\n"a\r\ncat",one,7\r\n\r\n,two\r\nx,three,x\r\n"y",four,'),
    ("csv", b'prompt,custom_id\n"a cat",b\n"a"b,c\nx,y\n'),
    ("csv", "prompt\nein Hündchen\n猫\n".encode()),
    ("csv", b"prompt\nx\n\xff\ny\n"),
    ("txt", b"\xef\xbb\xbfa cat\r\n\r\n  \n a dog \n\xff\n\x00\nlast"),
    ("txt", b"\xef\xbb"),
]


@pytest.mark.parametrize(("kind", "content"), FILES)
def test_a_file_cut_at_any_byte_is_the_same_file(kind: Format, content: bytes) -> None:
    expected_lines = read_lines(kind, content)

    for place in range(len(content) + 1):
        assert read_lines(kind, content[:place], content[place:]) == expected_lines, place
    assert read_lines(kind, *(bytes([byte]) for byte in content)) == expected_lines


piece = st.sampled_from(
    [b"\xef\xbb\xbf", b"\xff\xfe", b"\n", b"\r\n", b"\r", b'"', b",", b" ", b"prompt", b"custom_id", b"\x00", b"\xc3",
     b"\xa4", b"{}", b"x" * 90, a_line(), a_line("b", body={"prompt": "x", "size": "64x64"}), b"prompt,n\n", b"a,2\n"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["jsonl", "csv", "txt"]),
    st.lists(st.one_of(piece, st.binary(max_size=8)), max_size=25),
    st.lists(st.integers(0, 2000), max_size=6),
)
def test_chunks_never_change_what_is_read(kind: Format, pieces: list[bytes], places: list[int]) -> None:
    content = b"".join(pieces)
    cuts = sorted({0, len(content), *(place % (len(content) + 1) for place in places)})
    chunks = [content[start:end] for start, end in zip(cuts, [*cuts[1:], len(content)], strict=True)]

    assert read_lines(kind, *chunks) == read_lines(kind, content)


words = st.one_of(
    st.text(max_size=6), st.sampled_from(["64x64", "png", "b64_json", "\x00", "1e999", "-1", "a.b", "nan"])
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), words)
things = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(words, inner, max_size=2)),
    max_leaves=4,
)
names = st.one_of(
    words, st.sampled_from([*JobRequest.model_fields, "custom_id", "response_format", "webhook", "stream"])
)
cells = st.one_of(words, st.sampled_from(['"', ",", "{}", "[]", " "]))
dotted = st.one_of(names, st.builds("{}.{}".format, names, names))


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([IMAGES, JOBS_ENDPOINT]),
    st.dictionaries(names, things, max_size=4),
    st.dictionaries(names, things, max_size=2),
)
@example(IMAGES, {"postprocess": {"strange": 1}, "prompt": "x"}, {})
@example(JOBS_ENDPOINT, {"image": {"file_id": 1, "b": []}, "operation": "edit"}, {})
def test_no_line_of_json_is_beyond_reading(endpoint: str, body: dict[str, Any], fields: dict[str, Any]) -> None:
    line = json.dumps({"custom_id": "a", "method": "POST", "url": endpoint, "body": {"prompt": "x"} | body} | fields)

    stored_and_shown(read_lines("jsonl", line.encode(errors="replace"), options=ReadOptions(endpoint)))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([IMAGES, JOBS_ENDPOINT]), st.lists(st.tuples(dotted, cells), min_size=1, max_size=5))
@example(IMAGES, [("prompt", "x"), ("metadata", "1"), ("metadata.a", "2")])
@example(IMAGES, [("prompt", "x"), ("webhook.url", "2")])
def test_no_line_of_a_table_is_beyond_reading(endpoint: str, columns: list[tuple[str, str]]) -> None:
    table = "\n".join(",".join(cells) for cells in zip(*columns, strict=True))

    stored_and_shown(read_lines("csv", table.encode(errors="replace"), options=ReadOptions(endpoint)))


def stored_and_shown(lines: list[Line | LineError]) -> None:
    """Lines are planned as jobs, errors fit into Postgres' JSON: neither with a NUL, which it does not store."""
    for error in check_lines(iter(lines)).errors:
        assert "\x00" not in f"{error['message']}{error['param']}"
        assert len(error["message"]) <= 4 * MAX_MESSAGE_CHARS


def test_what_is_wrong_with_a_file_is_said_with_the_line() -> None:
    long = a_line("b", body={"prompt": "x" * 400})

    assert messages("jsonl", a_line() + long + a_line("c")) == [
        (1, "a"),
        (2, "The line is longer than 400 bytes; nothing after it was read."),
    ]
    assert messages("jsonl", a_line().decode().encode("utf-16")) == [(1, "a")]
    assert messages("txt", "ä\r\nö\r\n".encode()) == [(1, "line-1"), (2, "line-2")]
    assert messages("txt", "ä ö ü\n".encode() + b"\xe4\nb") == [
        (1, "line-1"),
        (2, "The line is not valid UTF-8, from byte 1 on."),
        (3, "line-3"),
    ]
    assert messages("jsonl", a_line().replace(b"\n", b"\r\n") + b"[]\r\n") == [
        (1, "a"),
        (2, "The line should be an object."),
    ]
    assert messages("csv", b"prompt,metadata,metadata.a\nx,1,2\n") == [
        (1, "The columns 'metadata' and 'metadata.a' must not both be set.")
    ]
    assert messages("csv", b'prompt,n\n"x\n') == [
        (2, "The file is not valid CSV: unexpected end of data. Nothing after this line was read.")
    ]


def test_a_name_of_any_length_is_shortened_in_an_error() -> None:
    (error,) = read_lines("jsonl", a_line(body={"prompt": "x", "y" * 50_000: 1}), options=ReadOptions(IMAGES))

    assert not isinstance(error, Line)
    assert error["code"] == "unknown_parameter"
    assert len(error["message"]) <= MAX_MESSAGE_CHARS + 1
    assert len(error["param"] or "") <= MAX_MESSAGE_CHARS + 1


@pytest.mark.parametrize("kind", ["jsonl", "csv", "txt"])
def test_a_file_of_blank_lines_has_no_lines(kind: Format) -> None:
    head = b"prompt\n" if kind == "csv" else b""
    check = check_lines(parse_lines(f"a.{kind}", [head + b"\n \r\n\t\n" * 1000], OPTIONS))

    assert [error["message"] for error in check.errors] == ["The file has no lines."]


def test_one_line_too_many_ends_the_reading() -> None:
    content = b"".join(f"cat {number}\n".encode() for number in range(MAX_LINES + 5000))

    check = check_lines(parse_lines("a.txt", [content], OPTIONS))

    assert [error["message"] for error in check.errors] == [f"There are more than {MAX_LINES} lines."]
    assert check.total == MAX_LINES + 1


def test_jsonl_is_read_as_a_stream() -> None:
    chunk_count = 0

    def chunks() -> Iterator[bytes]:
        nonlocal chunk_count
        for number in range(100_000):
            chunk_count += 1
            yield a_line(f"cat-{number}")

    assert isinstance(next(parse_lines("a.jsonl", chunks(), OPTIONS)), Line)
    assert chunk_count < 1000  # the beginning is read for the format


def test_errors_are_listed_up_to_a_bound_and_counted_beyond_it() -> None:
    check = check_lines(parse_lines("a.jsonl", [b"{\n" * (MAX_ERRORS + 7)], OPTIONS))

    assert len(check.errors) == MAX_ERRORS + 1
    assert check.errors[-1]["message"] == "7 more lines are invalid."
    assert [error["line"] for error in check.errors[:-1]] == list(range(1, MAX_ERRORS + 1))


def test_a_store_that_is_away_is_no_fault_of_a_line() -> None:
    def bring(_request: JobRequest) -> dict[str, str]:
        raise StorageUnavailable

    check = BatchCheck(CATALOG, SETTINGS, DEFAULT_PROJECT, bring)
    with pytest.raises(StorageUnavailable):
        check.add(an_edit(1, "file-a"))


def test_an_image_that_many_lines_begin_with_is_brought_once() -> None:
    file_ids = []

    def bring(request: JobRequest) -> dict[str, str]:
        file_ids.append(request.image)
        return {"image": "file-kept"}

    check = BatchCheck(CATALOG, SETTINGS, DEFAULT_PROJECT, bring)
    for number, name in enumerate(["file-a", "file-b", "file-a", "file-b", "file-a"], 1):
        assert check.add(an_edit(number, name))

    assert [source and source.file_id for source in file_ids] == ["file-a", "file-b"]
    assert (check.errors, check.total) == ([], 5)


def an_edit(number: int, file_id: str) -> Line:
    fields = {"operation": "edit", "prompt": "a hat", "image": {"file_id": file_id}}
    return Line(number, f"edit-{number}", LineRequest(JobRequest.model_validate(fields)))


def errors(kind: Format, *chunks: bytes) -> list[tuple[int | None, str]]:
    """The line and the message of each error, with the limits of a real file."""
    lines = parse_lines(f"a.{kind}", iter(chunks), ReadOptions(IMAGES, max_bytes=max_line_bytes(SETTINGS)))
    return [(line["line"], line["message"]) for line in lines if not isinstance(line, Line)]


def test_a_file_has_bounded_lines_columns_and_values() -> None:
    values = b"[" + b"0," * 20_000 + b"0]"
    row = b'"' + b"a\n" * 40_000 + b'",'

    assert errors("jsonl", a_line(), a_line().replace(b'"a cat"', values), a_line("b")) == [
        (2, "The line has more than 20000 commas and opening brackets.")
    ]
    assert errors("jsonl", a_line().replace(b'"a cat"', b"[" * 17 + b"]" * 17)) == [
        (1, "The line has more than 16 lists and objects inside each other.")
    ]
    assert errors("jsonl", a_line().replace(b'"prompt"', b'"prompt": "a dog", "prompt"')) == [
        (1, "prompt appears twice in an object of the line.")
    ]
    assert errors("csv", b"prompt," + b",".join(b"%d" % n for n in range(99_999)) + b"\n1\n") == [
        (1, "The header names 100000 columns; at most 200 are allowed.")
    ]
    assert [message for _, message in errors("csv", b"prompt,n\n" + row * 20)] == [
        "The row is longer than 1000000 bytes; nothing after it was read."
    ]
    assert errors("csv", b"prompt\n" + b"a" * 140_000) == [
        (2, "The file is not valid CSV: field larger than field limit (131072). Nothing after this line was read.")
    ]
    for kind in ("jsonl", "csv", "txt"):
        assert errors(kind, b"prompt\n" if kind == "csv" else b"", *([b"\n" * 100_000] * 11)) == [
            (1_000_001, "The file has more than 1000000 lines, with those that are blank.")
        ]


def test_a_line_in_many_chunks_costs_no_more_than_its_bytes() -> None:
    """Each chunk that is joined to all before it would copy a hundred times as much."""
    line = a_line(body={"prompt": "x" * 20_000_000})
    chunks = [line[begin : begin + 100_000] for begin in range(0, len(line), 100_000)]
    options = ReadOptions(IMAGES, max_bytes=len(line))

    started = time.process_time()
    list(parse_lines("a.jsonl", iter([line]), options))
    whole = time.process_time() - started
    list(parse_lines("a.jsonl", iter(chunks), options))

    assert time.process_time() - started < 4 * whole
