"""The format of an input file, by its content. The name counts only where the content may be several formats."""

import csv
import re
from collections.abc import Sequence
from pathlib import PurePath

from core.batches.header import HeaderReader
from core.batches.input_summary import Format
from core.batches.line_errors import end

HEAD_BYTES = 2**16
"""Bytes at the beginning of a file from which its format is recognised."""

SEPARATORS = ",;\t|"
NO_SEPARATOR = "\x1f"
"""For a table of one column: a control character, which no prompt may have."""

SAMPLE_RECORDS = 20

_JSON_OBJECT = re.compile(rb"\s*\{\s*[\"}]")
_JSON_LIST = re.compile(r"\s*\[\s*(\{|\])")
_SEPARATOR_LINE = re.compile(r"sep=([,;\t|:])\r?\n?", re.IGNORECASE)

_TABLES = {".csv", ".tsv", ".tab", ".xlsx", ".xlsm"}
_TEXTS = {".txt", ".text", ".md", ".prompts", ""}
_JSONS = {".jsonl", ".ndjson", ".jsonlines"}

_SIGNATURES = {
    b"\xd0\xcf\x11\xe0": "an Excel file of the old format (.xls), or one with a password: save it as .xlsx without one",
    b"%PDF": "a PDF",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"GIF8": "an image",
    b"\x1f\x8b": "compressed with gzip: unpack it",
    b"7z\xbc\xaf": "an archive: unpack it",
    b"Rar!": "an archive: unpack it",
    b"{\\rtf": "a rich text document: save it as plain text",
}
FORMATS = "JSONL as at OpenAI, CSV or Excel (.xlsx) with a header, or text with one prompt per line (.txt)"


def is_jsonl(head: bytes) -> bool:
    """Whether a file begins with a JSON object. head: without a byte order mark."""
    return _JSON_OBJECT.match(head) is not None


def check_signature(head: bytes) -> Format | None:
    """`xlsx` for a ZIP archive, None for a text. Raises EndOfReading for other binary files."""
    if head.startswith(b"PK\x03\x04"):
        return "xlsx"
    for signature, name in _SIGNATURES.items():
        if head.startswith(signature):
            end(None, f"The file is {name}. The file of a batch must be {FORMATS}.")
    return None


def recognise(filename: str, text: str, headers: HeaderReader) -> Format:
    """The format of a text by its beginning, without JSON objects. Raises EndOfReading if it is unclear.

    A header makes a table of any file. Without one, the name decides whether lines are prompts.
    """
    suffix = PurePath(filename).suffix.lower()
    if _JSON_LIST.match(text):
        end(None, "The file is one JSON list. A .jsonl file has an object in each line, without brackets around them.")
    if suffix in _TABLES or _SEPARATOR_LINE.match(text):
        return "csv"
    first_line = next((line for line in text.splitlines() if line.strip()), "")
    if any(headers.is_header(_split(first_line, separator)) for separator in SEPARATORS):
        return "csv"
    if suffix in _JSONS:
        return "jsonl"
    if suffix in _TEXTS:
        return "txt"
    end(None, f"The format of a file named {suffix} is unknown: it must be {FORMATS}.")


def separator_line(text: str) -> str | None:
    """The separator that a first line `sep=;` names, as Excel writes and reads it."""
    match = _SEPARATOR_LINE.match(text)
    return None if match is None else match[1]


def find_separator(text: str, headers: HeaderReader) -> str:
    """The separator of CSV, from its beginning.

    The first record decides: the separator with which most cells are names of parameters, or else the most cells.
    Without a header, all of the first records must have the same number of cells.
    """
    records = {separator: _records(text, separator) for separator in SEPARATORS}
    first = {separator: next((row for row in rows if any(row)), []) for separator, rows in records.items()}
    counts = {separator: headers.count_names(cells) for separator, cells in first.items()}
    widths = {separator: len(cells) for separator, cells in first.items()}
    best = max(SEPARATORS, key=lambda separator: (counts[separator], widths[separator]))
    if widths[best] <= 1:  # or a title above the header
        later = (separator for separator in SEPARATORS if any(headers.is_header(row) for row in records[separator][1:]))
        return next(later, NO_SEPARATOR)
    if counts[best] or headers.may_be_header(first[best]):
        return best
    even = [separator for separator in SEPARATORS if widths[separator] > 1 and _is_even(records[separator])]
    return max(even, key=lambda separator: widths[separator], default=best)


def _is_even(records: Sequence[Sequence[str]]) -> bool:
    """Whether all records have the same number of cells. The last may be cut off."""
    return len({len(record) for record in records[:-1] if record}) <= 1


def _records(text: str, separator: str) -> list[list[str]]:
    """The first records of a text. What cannot be read ends them."""
    records: list[list[str]] = []
    try:
        for record in csv.reader(text.splitlines(keepends=True), delimiter=separator):
            records.append(record)
            if len(records) == SAMPLE_RECORDS:
                break
    except csv.Error:
        pass
    return records


def _split(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []
