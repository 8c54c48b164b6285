"""Excel files as people have them, and as attackers build them."""

import datetime
import io
import time
import zipfile

import openpyxl
import pytest

from tests.reading import Reading
from tests.spreadsheets import saved, with_parts, xlsx

SHEET = "xl/worksheets/sheet1.xml"
START = b'<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'


def test_values_of_excel_are_what_people_mean() -> None:
    content = xlsx(
        [
            ["Prompt", "Seed", "Guidance Scale", "When", "Day", "Is new"],
            [
                "a cat",
                7.0,
                0.1 + 0.2,
                datetime.datetime.fromisoformat("2026-11-29T08:30"),
                datetime.date(2026, 1, 2),
                True,
            ],
            [],
            ["two\nlines", 8, 3, datetime.time(8, 30), None, False],
        ],
        title="Tabelle1",
    )

    reading = Reading("anything.bin", content, extra="metadata")

    assert reading.prompts == {2: "a cat", 4: "two\nlines"}
    assert (reading.values("guidance_scale"), reading.values("seed")) == ([0.3, 3.0], [7, 8])
    assert reading.values("metadata") == [
        {"When": "2026-11-29 08:30:00", "Day": "2026-01-02", "Is new": "true"},
        {"When": "08:30:00", "Is new": "false"},
    ]
    summary = reading.summary
    assert (summary.format, summary.sheet, summary.empty_rows, summary.encoding) == ("xlsx", "Tabelle1", 1, None)


def test_the_worksheet_is_the_one_named_prompts_or_the_first_that_is_not_hidden() -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(["prompt"])
    workbook.active.append(["hidden"])
    for name, prompt in (("Second", "second"), (" Prompts", "named")):
        sheet = workbook.create_sheet(name)
        sheet.append(["prompt"])
        sheet.append([prompt])
    workbook.worksheets[0].sheet_state = "hidden"
    named = saved(workbook)
    workbook.worksheets[2].sheet_state = "veryHidden"
    first = saved(workbook)

    assert Reading("a.xlsx", named).prompts == {2: "named"}
    assert Reading("a.xlsx", first).prompts == {2: "second"}
    assert Reading("a.xlsx", xlsx([["prompt"], ["a"]], Notes=[["b"]])).prompts == {2: "a"}


def test_formulas_have_their_stored_value_and_errors_are_errors_of_their_row() -> None:
    content = with_parts(
        xlsx([["x"]]),
        {
            SHEET: START + b'<sheetData><row r="1"><c r="A1" t="inlineStr"><is><t>prompt</t></is></c></row>'
            b'<row r="2"><c r="A2" t="str"><f>"a"&amp;"b"</f><v>ab</v></c></row>'
            b'<row r="3"><c r="A3"><f>B1</f></c></row><row r="4"><c r="A4" t="e"><f>1/0</f><v>#DIV/0!</v></c></row>'
            b'<row r="6"><c r="A6" t="str"><f>IF(1,"","")</f><v></v></c></row></sheetData></worksheet>'
        },
    )

    reading = Reading("a.xlsx", content)

    assert (reading.prompts, reading.summary.empty_rows) == ({2: "ab"}, 2)
    assert reading.errors == [
        (
            3,
            "The formula in A3 has no stored value. Open the file in a spreadsheet and save it, or replace formulas by "
            "their values.",
        ),
        (4, "The cell A4 has the error #DIV/0!."),
    ]


def sheet_of(xml: bytes) -> bytes:
    return with_parts(xlsx([["x"]]), {SHEET: START + b"<sheetData>" + xml + b"</sheetData></worksheet>"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (with_parts(xlsx([["x"]]), {"xl/media/x.xml": bytes(160 * 2**20)}), "150 MiB"),
        (sheet_of(b'<row r="1"><c r="A1"><f>B1</f></c></row>'), "The formula in A1 has no stored value."),
        (sheet_of(b"<row>" + b"<c/>" * 100_000 + b"</row>"), "row of more than 2000 cells"),
        (sheet_of(b"<row><c a='" + b"x" * 2_000_000 + b"'/></row>"), "a tag of more than a megabyte"),
        (sheet_of(b'<row r="999999999"><c r="A999999999"><v>1</v></c></row>'), "more than 1048576 rows"),
        (sheet_of(b'<row r="1"><c r="ZZ1"><v>1</v></c><c r="GS1"><v>1</v></c></row>'), "more than 200 columns"),
        (
            with_parts(xlsx([["x"]]), {SHEET: b'<!DOCTYPE x [<!ENTITY a "aaaa">]>' + START + b"&a;</worksheet>"}),
            "damaged",
        ),
        (with_parts(xlsx([["x"]]), {SHEET: START + b"<sheetData><row><c><v>"}), "damaged"),
        (with_parts(xlsx([["x"]]), {"xl/workbook.xml": b"<x/>"}), "no worksheet"),
        (
            with_parts(xlsx([["x"]]), {"xl/styles.xml": b"<x>" + b"<xf/>" * 150_000 + b"</x>"}),
            "more than 150000 styles",
        ),
        (with_parts(xlsx([["x"]]), {"xl/workbook.xml": b"<x>" + b"<sheet/>" * 201 + b"</x>"}), "200 worksheets"),
        (
            with_parts(
                xlsx([["x"]]),
                {
                    "xl/workbook.xml": b"<x>" + b"<sheet/>" * 200 + b"</x>",
                    "xl/worksheets/_rels/sheet1.xml.rels": b"<x>" + b"<Relationship/>" * 5001 + b"</x>",
                },
            ),
            "too many links",
        ),
    ],
    ids=[
        "bomb",
        "formula",
        "cells",
        "tag",
        "rows",
        "columns",
        "entities",
        "cut",
        "workbook",
        "styles",
        "sheets",
        "links",
    ],
)
def test_an_excel_file_that_is_built_to_do_harm_is_refused(content: bytes, words: str) -> None:
    reading = Reading("a.xlsx", content)

    assert not reading.lines
    ((_, message),) = reading.errors
    assert words in message


@pytest.mark.parametrize("part", ["xl/sharedStrings", "xl/workbook", "xl/worksheets/sheet1"])
def test_a_part_of_an_excel_file_that_is_not_counted_is_not_read(part: str) -> None:
    content = xlsx([["prompt"], ["a cat"]])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    other_name, name = f"{part}.bin".encode(), f"{part}.xml".encode()
    index_files = ("[Content_Types].xml", "xl/_rels/workbook.xml.rels")
    changes = {file: parts[file].replace(name, other_name) for file in index_files}

    if part == "xl/sharedStrings":  # openpyxl writes none
        kind = b"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
        override = b'<Override PartName="/%s" ContentType="%s"/></Types>' % (other_name, kind)
        changes["[Content_Types].xml"] = parts["[Content_Types].xml"].replace(b"</Types>", override)

    content_part = parts.get(name.decode(), b"<sst/>")
    reading = Reading("a.xlsx", with_parts(content, {**changes, other_name.decode(): content_part}))

    assert Reading("a.xlsx", content).prompts == {2: "a cat"}
    assert (reading.prompts, len(reading.errors)) == ({}, 1)


def test_a_row_of_half_a_million_cells_costs_little_more_than_one_of_thousands() -> None:
    def seconds(cells: int) -> float:
        content = ",".join(f"zq{number:x}" for number in range(cells)).encode()
        began = time.process_time()
        reading = Reading("a.csv", content + b"\n" + content[:100])
        assert not reading.lines
        return time.process_time() - began

    assert seconds(100_000) < 10 * seconds(2_000)


@pytest.mark.slow  # it counts millions of elements
def test_more_elements_than_the_bound_are_refused() -> None:
    strings = START.replace(b"worksheet", b"sst") + b"<si/>" * 1_000_001 + b"</sst>"

    for elements, words in ((strings, "1000000 different"), (b"<a>" + b"<b/>" * 5_000_001 + b"</a>", "5000000 XML")):
        content = with_parts(xlsx([["x"]]), {"xl/sharedStrings.xml": elements})
        ((_, message),) = Reading("a.xlsx", content).errors
        assert f"more than {words}" in message
