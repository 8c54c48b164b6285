"""The rows of a table as lines: from CSV or a worksheet.

The number of a line is that of its row in a spreadsheet, where a cell may contain line ends.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from pydantic import BaseModel, ConfigDict

from core.batches.header import Header, HeaderReader, explain_no_header
from core.batches.input_summary import InputSummary
from core.batches.line import Line, ReadOptions
from core.batches.line_errors import end, line_error, message_error
from core.batches.line_parser import LineParser
from core.batches.requests import CustomId
from core.batches.transitions import LineError
from core.errors import InvalidParameter, InvalidRequest, SafelightError
from core.requests.job import validate
from core.text import quote

MAX_VALUE_CHARS = 512
"""Characters of a value of metadata."""

LOOKAHEAD_ROWS = 20
"""Rows in which a header is looked for if the first row is none."""


class CustomIdField(BaseModel):
    """A model with a `custom_id`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    custom_id: CustomId


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table. error: why its cells cannot be used."""

    number: int  # from 1
    cells: Sequence[str]
    error: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether no cell has a text."""
        return self.error is None and not any(cell and not cell.isspace() for cell in self.cells)


class TableReader:
    """Makes lines of the rows of a table.

    has_full_rows: whether each row has a cell for each column, as in CSV.
    """

    def __init__(self, options: ReadOptions, summary: InputSummary, *, has_full_rows: bool) -> None:
        self._options = options
        self._summary = summary
        self._has_full_rows = has_full_rows
        self._parser = LineParser(options.endpoint, options.shared_parameters, strict=False)
        self._headers = HeaderReader(
            options.endpoint, options.shared_parameters, keep_columns=options.extra_columns == "metadata"
        )
        self._long_values = set[str]()  # columns of metadata that had a value too long

    def lines(self, rows: Iterable[Row]) -> Iterator[Line | LineError]:
        """The lines of all rows that are not empty. Raises EndOfReading."""
        iterator = iter(rows)
        first = next((row for row in iterator if not self._skip(row)), None)
        if first is None:
            return
        if first.error is not None:
            end(first.number, f"{first.error} Nothing was read.")
        if self._headers.may_be_header(first.cells):
            yield from self._with_header(self._headers.read(first.number, first.cells), iterator)
            return
        ahead = list(islice(iterator, LOOKAHEAD_ROWS))
        header_number = next((row.number for row in ahead if self._headers.is_header(row.cells)), None)
        if header_number is not None:
            end(
                header_number,
                "The header is in this line: delete what is above it. The first line must name the columns.",
            )
        cells = [cell for cell in first.cells if cell.strip()]
        if len(cells) != 1:
            end(first.number, explain_no_header(cells))
        yield from self._prompts(chain([first], ahead, iterator))

    def _skip(self, row: Row) -> bool:
        """Count a row that is empty."""
        self._summary.empty_rows += row.is_empty
        return row.is_empty

    def _prompts(self, rows: Iterable[Row]) -> Iterator[Line | LineError]:
        """The lines of a table that has only a column of prompts, and no header."""
        self._summary.has_header = False
        for row in rows:
            if self._skip(row):
                continue
            cells = [cell for cell in row.cells if cell.strip()]
            if row.error is None and len(cells) > 1:
                message = f"The row has {len(cells)} cells, but the first has one, and there is no header. "
                end(row.number, f"{message}Add a first line that names the columns, such as prompt,size.")
            try:
                if row.error is not None:
                    raise InvalidRequest(row.error)
                yield Line(row.number, f"line-{row.number}", self._parser.parse({"prompt": cells[0].strip()}))
            except SafelightError as error:
                yield line_error(row.number, error)

    def _with_header(self, header: Header, rows: Iterator[Row]) -> Iterator[Line | LineError]:
        self._summary.has_header = True
        self._summary.metadata_columns = [
            name.partition(".")[2] for name in header.names if name.startswith("metadata.")
        ]
        self._summary.header_errors = len(header.errors)
        yield from header.errors
        if header.has_no_prompt:  # an error of each row would say nothing new
            return
        for row in rows:
            if self._skip(row):
                continue
            try:
                yield from self._line(header, row)
            except SafelightError as error:
                yield line_error(row.number, error)

    def _line(self, header: Header, row: Row) -> Iterator[Line | LineError]:
        if row.error is not None:
            raise InvalidRequest(row.error)
        self._check_cells(header, row)
        body: dict[str, Any] = {}
        for name, cell in zip(header.names, row.cells, strict=False):
            if not name or not cell or cell.isspace():
                continue
            if name.startswith("metadata.") and len(cell) > MAX_VALUE_CHARS:
                yield from self._long_value(row.number, name, cell)
                continue
            _set_field(body, name, _decimal(cell) if name in header.decimals else cell)
        custom_id = validate(CustomIdField, {"custom_id": body.pop("custom_id", f"line-{row.number}")}).custom_id
        yield Line(row.number, custom_id, self._parser.parse(body))

    def _check_cells(self, header: Header, row: Row) -> None:
        width = len(header.names)
        extra = next((index for index, cell in enumerate(row.cells) if index >= width and cell.strip()), None)
        if extra is not None or (self._has_full_rows and len(row.cells) < width):
            count = len(row.cells)
            hint = " A text that contains the separator or a line end must be in quotes." if self._has_full_rows else ""
            raise InvalidRequest(
                f"The row has {count} cell{'' if count == 1 else 's'}, but the header has {width}.{hint}"
            )
        for index in header.without_name:
            if index < len(row.cells) and row.cells[index].strip():
                raise InvalidRequest(
                    f"The cell {quote(row.cells[index])} is in column {index + 1}, which has no name in the header."
                )

    def _long_value(self, number: int, name: str, cell: str) -> Iterator[LineError]:
        """The error for a value of metadata that is too long, once for each column."""
        if name in self._long_values:
            return
        self._long_values.add(name)
        message = (
            f"{name} has {len(cell)} characters; metadata has at most {MAX_VALUE_CHARS}. Shorten the texts of this "
            "column, or delete it. Further ones are not listed."
        )
        yield message_error(number, message, InvalidParameter.code, name)


def _set_field(body: dict[str, Any], name: str, cell: str) -> None:
    """Set a field; a dot in the name means a field of an object (`metadata.customer`, `postprocess.upscale`)."""
    outer, dot, inner = name.partition(".")
    if not dot:
        body[name] = cell.strip() if name != "prompt" else cell
        return
    body.setdefault(outer, {})[inner] = number_of(cell.strip()) if outer == "postprocess" else cell


def _decimal(cell: str) -> str:
    """A decimal number with a comma, as spreadsheets of many countries write it, with a dot."""
    text = cell.strip()
    return text.replace(",", ".") if re.fullmatch(r"-?\d+,\d+", text) else cell


def number_of(text: str) -> float | int | str:
    """An int or float if the text is one; the type of a postprocess field depends on it."""
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    try:
        return float(text)
    except ValueError:
        return text
