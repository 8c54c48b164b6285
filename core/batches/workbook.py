"""The rows of an Excel file (.xlsx), read by openpyxl within bounds.

A file of a few kilobytes may contain gigabytes of XML, so all of it is counted by a streaming parser, which stores
nothing, before openpyxl reads it. defusedxml, which openpyxl uses where it is installed, refuses entities.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from typing import IO, Any, Literal
from xml.parsers import expat

import openpyxl
from openpyxl.cell.read_only import EMPTY_CELL
from openpyxl.reader.excel import ExcelReader
from openpyxl.xml import DEFUSEDXML

from core.batches.header import MAX_COLUMNS
from core.batches.input_summary import InputSummary
from core.batches.line_errors import end
from core.batches.table import Row
from core.text import shorten

if not DEFUSEDXML:  # without it, openpyxl would expand entities
    raise ImportError("defusedxml is not installed")

MAX_XML_BYTES = 150 * 2**20
"""Bytes of all XML of a workbook, unpacked. 50,000 rows with ten columns are about 30 MB."""

MAX_ELEMENTS = 5_000_000
"""Elements of all XML of a workbook. Each takes about a microsecond. A cell has two or three."""

MAX_OBJECTS = 150_000
"""Elements that are neither cells nor texts, such as styles, names and links. openpyxl makes objects of most of them,
in up to 50 microseconds each. Excel has at most 65,490 cell styles and 65,530 links of a worksheet."""

MAX_LINK_READS = 1_000_000
"""Worksheets times links: openpyxl may read all links once for each worksheet."""

MAX_STRINGS = 1_000_000
"""Different texts of all cells. openpyxl has them in memory, and takes ten microseconds for each."""

MAX_SHEETS = 200
MAX_MEMBERS = 5000
MAX_ROWS = 1_048_576  # as in Excel
MAX_TAG_BYTES = 2**20
MAX_CELLS_OF_ROW = 2000
MAX_CELL_CHARS = 100_000
"""Excel allows 32,767."""

MAX_FORMULAS = 1000
"""Formulas without a value whose cells are noted; beyond them the file is refused."""

CHUNK = 2**16
SHEET = "prompts"
"""A worksheet of this name comes before the first one."""

_TABLES = {"worksheet", "sst", "pivotCacheRecords"}
"""The outermost elements of parts that may have millions of elements. openpyxl reads them as a stream or not at all."""

_CELLS = {
    "row", "c", "f", "v", "is", "si", "t", "r", "rPr", "rPh", "phoneticPr", "rFont", "b", "i", "u", "strike", "sz",
    "color", "family", "charset", "scheme", "vertAlign", "x", "n", "s", "d", "m", "e",
}  # fmt: skip
"""The elements of rows, and of texts with their fonts."""

_BROKEN = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, TypeError, LookupError, AttributeError,
    RuntimeError, NotImplementedError, SyntaxError, ArithmeticError, expat.ExpatError,
)  # fmt: skip
"""What zipfile, the XML parsers and openpyxl raise on a damaged file."""


class _TooLarge(Exception):
    """A bound is exceeded. The text says which."""


def rows_of(file: IO[bytes], summary: InputSummary, meanwhile: Callable[[], None]) -> Iterator[Row]:
    """The rows of a worksheet: that named `prompts`, else the first that is not hidden. Raises EndOfReading.

    meanwhile: called from time to time before the first row.
    """
    try:
        scan = _Scan(meanwhile)
        _check(file, scan)
        workbook = _load(file)
        try:
            sheet = _sheet(workbook)
            summary.sheet = shorten(sheet.title)
            yield from _rows(workbook, sheet, scan)
        finally:
            workbook.close()
    except _TooLarge as error:
        end(None, f"The Excel file has {error}. Save the prompts as CSV, or in several files.")
    except _BROKEN:
        end(None, "The Excel file is damaged and cannot be read. Open it in a spreadsheet and save it again as .xlsx.")


def _load(file: IO[bytes]) -> Any:
    reader = ExcelReader(file, read_only=True, data_only=True, keep_links=False)
    reader.archive = _CountedArchive(file)
    reader.read()
    return reader.wb


def _sheet(workbook: Any) -> Any:
    visible = [sheet for sheet in workbook.worksheets if sheet.sheet_state == "visible"]
    if not visible:
        end(None, "The Excel file has no worksheet that is not hidden.")
    return next((sheet for sheet in visible if sheet.title.strip().casefold() == SHEET), visible[0])


def _rows(workbook: Any, sheet: Any, scan: "_Scan") -> Iterator[Row]:
    with workbook._archive.open(sheet._worksheet_path) as source:
        without_value = scan.formulas_without_value(source)
    sheet.reset_dimensions()  # those in the file may be wrong
    for number, cells in enumerate(sheet.iter_rows(max_col=MAX_COLUMNS + 1), 1):
        if number > MAX_ROWS:
            raise _TooLarge(f"more than {MAX_ROWS} rows")
        yield _row(number, cells, without_value.get(number))


def _row(number: int, cells: Any, formula: str | None) -> Row:
    if formula is not None:
        return Row(
            number,
            (),
            f"The formula in {formula} has no stored value. Open the file in a spreadsheet and save it, or replace "
            "formulas by their values.",
        )
    width = len(cells)
    while width and cells[width - 1] is EMPTY_CELL:
        width -= 1
    texts = []
    for index, cell in enumerate(cells[:width]):
        if cell.data_type == "e":
            letters = openpyxl.utils.get_column_letter(index + 1)
            return Row(number, (), f"The cell {letters}{number} has the error {cell.value}.")
        texts.append(_text(cell.value))
    while texts and not texts[-1]:
        texts.pop()
    if len(texts) > MAX_COLUMNS:
        raise _TooLarge(f"more than {MAX_COLUMNS} columns (row {number})")
    if any(len(text) > MAX_CELL_CHARS for text in texts):
        return Row(number, (), f"The row has a cell with more than {MAX_CELL_CHARS} characters.")
    return Row(number, texts)


def _text(value: object) -> str:
    """The value of a cell as a person would type it: 7, not 7.0; 2026-11-29, not 46355."""
    match value:
        case None:
            return ""
        case str():
            return value.replace("_x000D_\n", "\n").replace("_x000D_", "\n")
        case bool():
            return "true" if value else "false"
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else f"{value:.15g}"
        case datetime():
            is_date = value.time() == time()
            return value.date().isoformat() if is_date else value.isoformat(" ", "seconds")
        case date() | time():
            return value.isoformat()
    return str(value)


def _check(file: IO[bytes], scan: "_Scan") -> None:
    """Refuse a file that would take much memory or time. Raises _TooLarge, or one of _BROKEN."""
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise _TooLarge(f"more than {MAX_MEMBERS} parts")
        names = {member.filename for member in members}
        if "[Content_Types].xml" not in names:
            end(None, "The file is a ZIP archive, but no Excel file (.xlsx).")
        texts = [member for member in members if _is_xml(member.filename)]
        if sum(member.file_size for member in texts) > MAX_XML_BYTES:
            raise _TooLarge(f"more than {MAX_XML_BYTES // 2**20} MiB of XML")
        if sum("worksheets/" in member.filename for member in texts) > 2 * MAX_SHEETS:
            raise _TooLarge(f"more than {MAX_SHEETS} worksheets")
        for member in texts:
            with archive.open(member) as source:
                scan.count(source)


class _CountedArchive(zipfile.ZipFile):
    """An archive of which only those parts can be read that `_check` counts.

    The file itself says which part is a worksheet or has the texts, whatever the name of the part.
    """

    def open(
        self,
        name: str | zipfile.ZipInfo,
        mode: Literal["r", "w"] = "r",
        pwd: bytes | None = None,
        *,
        force_zip64: bool = False,
    ) -> IO[bytes]:
        """Open a part. Raises ValueError for other names than those of XML."""
        if not _is_xml(name if isinstance(name, str) else name.filename):
            raise ValueError("a part of the workbook has not the name of an XML file")
        return super().open(name, mode, pwd, force_zip64=force_zip64)


def _is_xml(name: str) -> bool:
    return name.endswith((".xml", ".rels"))


class _Scan:
    """Counts the elements of XML while it streams through. zipfile reads no more bytes than a member declares."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self._meanwhile = meanwhile
        self._elements = 0
        self._objects = 0
        self._sheets = 0
        self._links = 0
        self._is_outermost = self._is_table = False
        self._strings = 0
        self._cells = 0
        self._row = 0
        self._cell = ""
        self._has_formula = self._has_value = self._is_text = self._is_in_value = False
        self._formulas: dict[int, str] = {}

    def count(self, source: IO[bytes]) -> None:
        """Count elements. Raises _TooLarge."""
        self._is_outermost = True
        self._parse(source, self._start, None)

    def formulas_without_value(self, source: IO[bytes]) -> dict[int, str]:
        """The first cell of each row of a worksheet that has a formula and no stored value, such as `C5`."""
        self._parse(source, self._start_cell, self._end_cell, self._add_text)
        return self._formulas

    def _parse(self, source: IO[bytes], start: Any, end_element: Any, add_text: Any = None) -> None:
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler, parser.EndElementHandler = start, end_element
        parser.CharacterDataHandler = add_text
        parser.StartDoctypeDeclHandler = _refuse_doctype
        size = 0
        while chunk := source.read(CHUNK):
            parser.Parse(chunk, False)
            size += len(chunk)
            self._meanwhile()
            if size - parser.CurrentByteIndex > MAX_TAG_BYTES:
                raise _TooLarge("a tag of more than a megabyte")
        parser.Parse(b"", True)

    def _start(self, name: str, _attributes: Any) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise _TooLarge(f"more than {MAX_ELEMENTS} XML elements")
        local_name = name.rpartition(" ")[2]
        if self._is_outermost:
            self._is_outermost, self._is_table = False, local_name in _TABLES
        if not self._is_table or local_name not in _CELLS:
            self._count_object(local_name)
        if name.endswith(" c"):
            self._cells += 1
            if self._cells > MAX_CELLS_OF_ROW:
                raise _TooLarge(f"a row of more than {MAX_CELLS_OF_ROW} cells")
        elif name.endswith(" row"):
            self._cells = 0
        elif name.endswith(" si"):
            self._strings += 1
            if self._strings > MAX_STRINGS:
                raise _TooLarge(f"more than {MAX_STRINGS} different texts")

    def _count_object(self, local_name: str) -> None:
        self._objects += 1
        self._sheets += local_name == "sheet"
        self._links += local_name == "Relationship"
        if self._objects > MAX_OBJECTS:
            raise _TooLarge(f"more than {MAX_OBJECTS} styles, names, links and the like")
        if self._sheets > MAX_SHEETS:
            raise _TooLarge(f"more than {MAX_SHEETS} worksheets")
        if self._sheets * self._links > MAX_LINK_READS:
            raise _TooLarge("too many links")

    def _start_cell(self, name: str, attributes: dict[str, str]) -> None:
        local_name = name.rpartition(" ")[2]
        if local_name == "row":
            row = attributes.get("r", "")
            self._row = int(row) if row.isdecimal() else self._row + 1
            if self._row > MAX_ROWS:
                raise _TooLarge(f"more than {MAX_ROWS} rows")
        elif local_name == "c":
            self._cell = attributes.get("r") or f"row {self._row}"
            self._has_formula = self._has_value = False
            self._is_text = attributes.get("t") == "str"
        elif local_name == "f":
            self._has_formula = True
        elif local_name == "v":
            self._is_in_value = True
            self._has_value = self._is_text  # which may be empty

    def _add_text(self, _text: str) -> None:
        self._has_value = self._has_value or self._is_in_value

    def _end_cell(self, name: str) -> None:
        if name.endswith(" v"):
            self._is_in_value = False
        if name.endswith(" c") and self._has_formula and not self._has_value:
            self._formulas.setdefault(self._row, re.sub(r"[^A-Za-z0-9 ]", "", self._cell)[:20])
            if len(self._formulas) > MAX_FORMULAS:
                raise _TooLarge(f"more than {MAX_FORMULAS} rows with formulas that have no stored value")


def _refuse_doctype(*_: Any) -> None:
    raise ValueError("XML with a document type")
