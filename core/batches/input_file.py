"""The lines of an input file: each is a request or an error. A file of any size needs little memory.

JSONL in UTF-8, as at OpenAI, is read as a stream. Any other file is spooled first: Excel files need it, and the
encoding of a text is known only when all of it was seen. Reading continues after an invalid line, so that the owner
gets all errors at once. It stops early only if the rest cannot be split into lines.
"""

import csv
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Literal

from core.batches import input_format, text_encoding
from core.batches.header import HeaderReader
from core.batches.input_format import HEAD_BYTES, NO_SEPARATOR
from core.batches.input_summary import Format, InputSummary
from core.batches.line import Line, ReadOptions
from core.batches.line_errors import EndOfReading, end, line_error
from core.batches.line_parser import LineParser, LineRequest
from core.batches.line_shape import LineShape
from core.batches.table import CustomIdField, Row, TableReader
from core.batches.text_encoding import UTF_8
from core.batches.transitions import LineError
from core.errors import InvalidParameter, InvalidRequest, NotFound, SafelightError
from core.requests.job import parse
from core.settings import Settings
from core.text import quote

BOM = b"\xef\xbb\xbf"
MAX_FILE_LINES = 1_000_000
"""Lines of a file, with those that are blank. A batch has at most `MAX_LINES` that are not."""

MAX_ROW_BYTES = 1_000_000
"""Bytes of a row of a CSV file, over all its lines: a cell in quotes may contain line ends."""


class BatchLine(CustomIdField):
    """A line of a JSONL file, in OpenAI's format."""

    method: Literal["POST"] = "POST"
    url: str
    body: dict[str, Any]


def max_line_bytes(settings: Settings) -> int:
    """The maximum bytes of a line: two images in base64, and the other fields."""
    return settings.max_image_bytes * 4 // 3 * 2 + settings.max_body_bytes


def parse_lines(
    filename: str, chunks: Iterable[bytes], options: ReadOptions, summary: InputSummary | None = None
) -> Generator[Line | LineError, None, None]:
    """The lines of a file that are not blank, as requests or errors. `summary` is filled meanwhile."""
    try:
        yield from _Reader(filename, options, summary or InputSummary()).lines(iter(chunks))
    except EndOfReading as error:
        yield error.error
    except NotFound as error:  # the file was deleted before or while it was read
        yield line_error(None, error)


class _Reader:
    """Reads one file."""

    def __init__(self, filename: str, options: ReadOptions, summary: InputSummary) -> None:
        self._filename = filename
        self._options = options
        self._summary = summary
        self._headers = HeaderReader(options.endpoint, options.shared_parameters)

    def lines(self, chunks: Iterator[bytes]) -> Iterator[Line | LineError]:
        head = _head(chunks)
        bom_encoding = text_encoding.encoding_of_bom(head)
        is_utf_8 = bom_encoding is None or bom_encoding.name == UTF_8.name
        if is_utf_8 and input_format.is_jsonl(head.removeprefix(BOM)):
            self._summary.format, self._summary.encoding = "jsonl", UTF_8.name
            yield from self._jsonl(self._split(chain([head], chunks)))
            return
        with ExitStack() as stack:
            file = stack.enter_context(_spool(chain([head], chunks)))
            if bom_encoding is None and input_format.check_signature(head) == "xlsx":
                yield from self._xlsx(file)
                return
            encoding = bom_encoding or text_encoding.detect(file)
            self._summary.encoding, self._summary.example = encoding.display_name, encoding.example
            self._summary.encoding_is_guess = encoding.example is not None
            if encoding.name != UTF_8.name:
                file = stack.enter_context(text_encoding.transcode(file, encoding))
            yield from self._text(file)

    def _xlsx(self, file: IO[bytes]) -> Iterator[Line | LineError]:
        from core.batches.workbook import rows_of  # it takes 0.2 s to import, and few files need it

        self._summary.format = "xlsx"
        rows = rows_of(file, self._summary, self._options.meanwhile)
        yield from TableReader(self._options, self._summary, has_full_rows=False).lines(rows)

    def _text(self, file: IO[bytes]) -> Iterator[Line | LineError]:
        file.seek(0)
        head = file.read(HEAD_BYTES).removeprefix(BOM)
        file.seek(0)
        text = head.decode(errors="replace")
        is_old_mac = b"\r" in head and b"\n" not in head
        lines = self._split(_chunks(file, is_old_mac=is_old_mac))
        kind: Format = "jsonl" if input_format.is_jsonl(head) else "txt"
        if kind != "jsonl":
            kind = input_format.recognise(self._filename, text, self._headers)
        self._summary.format = kind
        if kind == "jsonl":
            yield from self._jsonl(lines)
        elif kind == "csv":
            yield from self._csv(lines, text.replace("\r", "\n") if is_old_mac else text)
        else:
            yield from self._txt(lines)

    def _split(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The lines with their line ends. Memory holds one line and one chunk; the cost is linear in the bytes."""
        max_bytes = self._options.max_bytes
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
                    end(number, f"The file has more than {MAX_FILE_LINES} lines, with those that are blank.")
            _check_length(max_bytes, size, number)
        if size:
            yield b"".join(beginning)

    def _jsonl(self, lines: Iterator[bytes]) -> Iterator[Line | LineError]:
        parser = LineParser(self._options.endpoint, self._options.shared_parameters)
        shape: LineShape | None = None
        for number, raw in enumerate(lines, 1):
            if shape is not None and (values := shape.read(raw)) is not None:
                custom_id, prompt, seed = values
                request, _, _, response_format, _ = shape.request
                yield Line(number, custom_id, LineRequest(request, prompt, seed, response_format))
                continue
            if raw.isspace():
                self._summary.empty_rows += 1
                continue
            try:
                line = _parse_json(raw, self._options.endpoint)
                yield Line(number, line.custom_id, parser.parse(line.body))
            except SafelightError as error:
                yield line_error(number, error)
            else:
                shared = parser.shared
                if shared is None:
                    shape = None
                elif shape is None or shape.request is not shared:
                    shape = LineShape.find(raw, line.custom_id, line.body, shared)

    def _txt(self, lines: Iterator[bytes]) -> Iterator[Line | LineError]:
        parser = LineParser(self._options.endpoint, self._options.shared_parameters)
        for number, raw in enumerate(lines, 1):
            try:
                prompt = _decode(raw).strip()
                if prompt:
                    yield Line(number, f"line-{number}", parser.parse({"prompt": prompt}))
                else:
                    self._summary.empty_rows += 1
            except SafelightError as error:
                yield line_error(number, error)

    def _csv(self, lines: Iterator[bytes], head: str) -> Iterator[Line | LineError]:
        separator = input_format.separator_line(head)
        if separator is not None:
            next(lines)  # Excel does not show this line either
        else:
            separator = input_format.find_separator(head, self._headers)
        self._summary.separator = None if separator == NO_SEPARATOR else separator
        rows = _csv_rows(lines, separator)
        yield from TableReader(self._options, self._summary, has_full_rows=True).lines(rows)


def _head(chunks: Iterator[bytes]) -> bytes:
    """The chunks that have the first HEAD_BYTES, joined."""
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    return bytes(head)


def _spool(chunks: Iterable[bytes]) -> IO[bytes]:
    file = SpooledTemporaryFile(text_encoding.SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
    try:
        for chunk in chunks:
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return file


def _chunks(file: IO[bytes], *, is_old_mac: bool) -> Iterator[bytes]:
    """The content of a file. is_old_mac: its line ends are carriage returns alone."""
    while chunk := file.read(text_encoding.CHUNK):
        yield chunk.replace(b"\r", b"\n") if is_old_mac else chunk


def _check_length(max_bytes: int, size: int, number: int) -> None:
    if size > max_bytes:
        end(number, f"The line is longer than {max_bytes} bytes; nothing after it was read.")


def _without_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The chunks without a byte order mark, which may be split between chunks."""
    iterator = iter(chunks)
    head = b""
    for chunk in iterator:
        head += chunk
        if len(head) >= len(BOM):
            break
    yield head.removeprefix(BOM)
    yield from iterator


def _parse_json(raw: bytes, endpoint: str) -> BatchLine:
    try:
        line = parse(BatchLine, raw)
    except InvalidRequest as error:
        raise _describe_line(error) from None
    if line.url != endpoint:
        raise InvalidParameter(
            f"url is {quote(line.url)}; it must be the endpoint of the batch, {endpoint}.", param="url"
        )
    return line


def _describe_line(error: InvalidRequest) -> InvalidRequest:
    error.message = re.sub(r"\b([Tt]he) body\b", r"\1 line", error.message)
    error.param = None if error.param == "body" else error.param
    return error


def _csv_rows(lines: Iterator[bytes], separator: str) -> Iterator[Row]:
    """The rows of a CSV file, numbered as in a spreadsheet. Raises EndOfReading."""
    text = _RowText(lines)
    table = csv.reader(text, strict=True, delimiter=separator)
    number = 0
    try:
        for number, cells in enumerate(table, 1):
            text.row_number = number + 1
            text.row_bytes = 0
            yield Row(number, cells)
    except csv.Error as error:
        reason = str(error).replace(repr(NO_SEPARATOR), "the end of the line")
        end(number + 1, f"The file is not valid CSV: {reason}. Nothing after this line was read.")


class _RowText:
    """The lines of a CSV file as text. Ends the reading of a row too long.

    row_number, row_bytes: of the row that is being read.
    """

    def __init__(self, lines: Iterator[bytes]) -> None:
        self._lines = lines
        self.row_number = 1
        self.row_bytes = 0

    def __iter__(self) -> Iterator[str]:
        for raw in self._lines:
            self.row_bytes += len(raw)
            if self.row_bytes > MAX_ROW_BYTES:
                end(self.row_number, f"The row is longer than {MAX_ROW_BYTES} bytes; nothing after it was read.")
            try:
                yield _decode(raw)
            except InvalidRequest as error:
                end(self.row_number, f"{error.message} Nothing after it was read.")


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The line is not valid UTF-8, from byte {error.start + 1} on.") from None
