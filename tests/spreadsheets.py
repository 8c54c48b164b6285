"""Spreadsheets and texts as people save them, for tests."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import openpyxl


def xlsx(rows: Sequence[Sequence[Any]], title: str = "Sheet1", **others: Sequence[Sequence[Any]]) -> bytes:
    """An Excel file whose first worksheet has these rows; `others` come after it."""
    workbook = openpyxl.Workbook()
    workbook.active.title = title
    for row in rows:
        workbook.active.append(row)
    for name, other_rows in others.items():
        sheet = workbook.create_sheet(name)
        for row in other_rows:
            sheet.append(row)
    return saved(workbook)


def saved(workbook: Any) -> bytes:
    """The bytes of a workbook."""
    buffer = io.BytesIO()
    workbook.save(buffer)
    return buffer.getvalue()


def with_parts(content: bytes, parts: Mapping[str, bytes]) -> bytes:
    """An Excel file with other contents of some of its parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, parts.get(name, source.read(name)))
        for name in parts.keys() - set(source.namelist()):
            target.writestr(name, parts[name])
    return buffer.getvalue()
