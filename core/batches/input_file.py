"""The lines of an input file: each is a request or an error. A file of any size is read as a stream.

A file is JSONL in OpenAI's format, CSV with a header, or text with one prompt per line. Reading continues after an
invalid line, so that the owner gets all errors at once. It stops early only if the rest cannot be split into lines.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict

from core.batches.line_parser import LineParser, LineRequest
from core.batches.requests import CustomId
from core.batches.transitions import LineError
from core.errors import InvalidParameter, InvalidRequest, NotFound, SafelightError
from core.requests.job import parse, validate
from core.settings import Settings
from core.text import quote, shorten

Kind = Literal["jsonl", "csv", "txt"]
BOM = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
MAX_FILE_LINES = 1_000_000
"""Lines of a file, with those that are blank. A batch has at most `MAX_LINES` that are not."""

MAX_COLUMNS = 200
"""Columns of a CSV file. There are some forty parameters, and the entries of `metadata`."""

MAX_ROW_BYTES = 1_000_000
"""Bytes of a row of a CSV file, over all its lines: a cell in quotes may contain line ends."""

MAX_MESSAGE_CHARS = 1000
"""Characters of an error message. It may quote a name, which may be as long as the line."""

_CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), 127)}


@dataclass(frozen=True, slots=True)
class Line:
    """A valid line."""

    number: int  # from 1, in the file
    custom_id: str
    request: LineRequest


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading a file."""

    endpoint: str
    shared_parameters: Mapping[str, Any] = field(default_factory=dict)
    max_bytes: int = 1_000_000  # of a line


class CustomIdField(BaseModel):
    """A model with a `custom_id`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    custom_id: CustomId


class BatchLine(CustomIdField):
    """A line of a JSONL file, in OpenAI's format."""

    method: Literal["POST"] = "POST"
    url: str
    body: dict[str, Any]


def kind_of(filename: str) -> Kind:
    """The kind of a file, from its name. Raises InvalidParameter."""
    match PurePath(filename).suffix.lower():
        case ".jsonl" | ".ndjson":
            return "jsonl"
        case ".csv":
            return "csv"
        case ".txt":
            return "txt"
    raise InvalidParameter(
        f"input_file_id is the file {quote(filename)}; the file of a batch must be .jsonl, .csv or .txt.",
        param="input_file_id",
    )


def max_line_bytes(settings: Settings) -> int:
    """The maximum bytes of a line: two images in base64, and the other fields."""
    return settings.max_image_bytes * 4 // 3 * 2 + settings.max_body_bytes


def parse_lines(kind: Kind, chunks: Iterable[bytes], options: ReadOptions) -> Iterator[Line | LineError]:
    """The lines of a file that are not blank, as requests or errors."""
    readers: dict[Kind, Callable[[Iterator[bytes], ReadOptions], Iterator[Line | LineError]]] = {
        "jsonl": _jsonl,
        "csv": _csv,
        "txt": _txt,
    }
    try:
        yield from readers[kind](_split_lines(chunks, options.max_bytes), options)
    except _EndOfReading as end:
        yield end.error
    except NotFound as error:  # the file was deleted before or while it was read
        yield line_error(None, error)


def line_error(number: int | None, error: SafelightError) -> LineError:
    """The error of a line. The text is shortened, and control characters, which Postgres rejects, are escaped."""
    param = None if error.param is None else _shorten(error.param)
    return LineError(line=number, code=error.code, param=param, message=_shorten(error.message))


def _shorten(text: str) -> str:
    return shorten(text, MAX_MESSAGE_CHARS).translate(_CONTROL)


class _EndOfReading(Exception):
    """The rest of the file cannot be split into lines."""

    def __init__(self, error: LineError) -> None:
        super().__init__(error["message"])
        self.error = error


def _end(number: int, message: str, code: str = InvalidRequest.code) -> NoReturn:
    raise _EndOfReading(LineError(line=number, code=code, param=None, message=message))


def _split_lines(chunks: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    """The lines with their line ends. Memory holds one line and one chunk; the cost is linear in the bytes."""
    number, beginning, size = 1, list[bytes](), 0
    for chunk in _without_bom(chunks):
        first, *lines = chunk.split(b"\n")
        beginning.append(first)
        size += len(first)
        for line in lines:
            _check_length(max_bytes, size, number)
            yield b"".join(beginning) + b"\n"
            number, beginning, size = number + 1, [line], len(line)
            if number > MAX_FILE_LINES:
                _end(number, f"The file has more than {MAX_FILE_LINES} lines, with those that are blank.")
        _check_length(max_bytes, size, number)
    if size:
        yield b"".join(beginning)


def _check_length(max_bytes: int, size: int, number: int) -> None:
    if size > max_bytes:
        _end(number, f"The line is longer than {max_bytes} bytes; nothing after it was read.")


def _without_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks without a byte order mark, which may be split between chunks."""
    iterator = iter(chunks)
    head = b""
    for chunk in iterator:
        head += chunk
        if len(head) >= len(BOM):
            break
    if head.startswith(UTF_16):
        _end(1, "The file is UTF-16; it must be UTF-8. Nothing of it was read.")
    yield head.removeprefix(BOM)
    yield from iterator


def _jsonl(lines: Iterator[bytes], options: ReadOptions) -> Iterator[Line | LineError]:
    parser = LineParser(options.endpoint, options.shared_parameters)
    for number, raw in enumerate(lines, 1):
        if raw.isspace():
            continue
        try:
            yield _parse_json(number, raw, options.endpoint, parser)
        except SafelightError as error:
            yield line_error(number, error)


def _parse_json(number: int, raw: bytes, endpoint: str, parser: LineParser) -> Line:
    try:
        line = parse(BatchLine, raw)
    except InvalidRequest as error:
        raise _describe_line(error) from None
    if line.url != endpoint:
        raise InvalidParameter(
            f"url is {quote(line.url)}; it must be the endpoint of the batch, {endpoint}.", param="url"
        )
    return Line(number, line.custom_id, parser.parse(line.body))


def _describe_line(error: InvalidRequest) -> InvalidRequest:
    error.message = re.sub(r"\b([Tt]he) body\b", r"\1 line", error.message)
    error.param = None if error.param == "body" else error.param
    return error


def _txt(lines: Iterator[bytes], options: ReadOptions) -> Iterator[Line | LineError]:
    parser = LineParser(options.endpoint, options.shared_parameters)
    for number, raw in enumerate(lines, 1):
        try:
            prompt = _text(number, raw).strip()
            if prompt:
                yield Line(number, f"line-{number}", parser.parse({"prompt": prompt}))
        except SafelightError as error:
            yield line_error(number, error)


def _csv(lines: Iterator[bytes], options: ReadOptions) -> Iterator[Line | LineError]:
    parser = LineParser(options.endpoint, options.shared_parameters, strict=False)
    text = _RowText(lines)
    table = csv.reader(text, strict=True)
    try:
        header = _header(next(table, []))
        text.end_row()
        for cells in table:
            text.end_row()
            number = table.line_num
            if not any(cell.strip() for cell in cells):
                continue
            try:
                yield _parse_cells(number, header, cells, parser)
            except SafelightError as error:
                yield line_error(number, error)
    except csv.Error as error:
        _end(table.line_num, f"The file is not valid CSV: {error}. Nothing after this line was read.")


class _RowText:
    """The lines of a CSV file as text. `end_row` says that they made a row. Ends the reading of a row too long."""

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = enumerate(lines, 1)
        self._row_bytes = 0

    def __iter__(self) -> Iterator[str]:
        for number, raw in self._lines:
            self._row_bytes += len(raw)
            if self._row_bytes > MAX_ROW_BYTES:
                _end(number, f"The row is longer than {MAX_ROW_BYTES} bytes; nothing after it was read.")
            yield _text_or_end(number, raw)

    def end_row(self) -> None:
        """The next line begins a row."""
        self._row_bytes = 0


def _header(cells: list[str]) -> list[str]:
    """The names of the columns. Ends the reading if they are not valid."""
    header = [name.strip() for name in cells]
    if len(header) > MAX_COLUMNS:
        _end(1, f"The first line names {len(header)} columns; at most {MAX_COLUMNS} are allowed.")
    if duplicates := {name for name in header if header.count(name) > 1}:
        _end(1, f"The column {quote(min(duplicates))} appears twice.")
    if conflicts := {name for name in header if name.partition(".")[0] in header and "." in name}:
        name = min(conflicts)
        _end(1, f"The columns {quote(name.partition('.')[0])} and {quote(name)} must not both be set.")
    if not header or "" in header:
        _end(1, "The first line must name the columns, such as prompt,custom_id,seed.")
    return header


def _parse_cells(number: int, header: list[str], cells: list[str], parser: LineParser) -> Line:
    if len(cells) != len(header):
        raise InvalidRequest(f"The line has {len(cells)} cells, but the header has {len(header)}.")
    body: dict[str, Any] = {}
    for name, cell in zip(header, cells, strict=True):
        if cell.strip():
            _set_field(body, name, cell)
    custom_id = _custom_id(body.pop("custom_id", f"line-{number}"))
    return Line(number, custom_id, parser.parse(body))


def _custom_id(custom_id: str) -> str:
    return validate(CustomIdField, {"custom_id": custom_id}).custom_id


def _set_field(body: dict[str, Any], name: str, cell: str) -> None:
    """Set a field; a dot in the name means a field of an object (`metadata.customer`, `postprocess.upscale`)."""
    outer, dot, inner = name.partition(".")
    if not dot:
        body[name] = cell
        return
    body.setdefault(outer, {})[inner] = number_of(cell) if outer == "postprocess" else cell


def number_of(text: str) -> float | int | str:
    """An int or float if the text is one; the type of a postprocess field depends on it."""
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text


def _text(number: int, raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The line is not valid UTF-8, from byte {error.start + 1} on.") from None


def _text_or_end(number: int, raw: bytes) -> str:
    try:
        return _text(number, raw)
    except InvalidRequest as error:
        _end(number, f"{error.message} Nothing after it was read.")
