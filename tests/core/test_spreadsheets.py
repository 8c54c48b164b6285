"""Files of prompts as people have them: recognised by their content, read in any encoding, explained once."""

import json

import pytest

from core.batches.requests import JOBS_ENDPOINT
from tests.reading import IMAGES, Reading
from tests.spreadsheets import with_parts, xlsx

JSONL = json.dumps({"custom_id": "a", "method": "POST", "url": IMAGES, "body": {"prompt": "a cat"}}) + "\n"


# The format is recognised by the content


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a", "a.json"])
def test_jsonl_is_jsonl_whatever_its_name(name: str) -> None:
    reading = Reading(name, JSONL.encode())

    assert (reading.summary.format, reading.prompts, reading.errors) == ("jsonl", {1: "a cat"}, [])
    assert Reading(name, b"\xff\xfe" + JSONL.encode("utf-16-le")).prompts == {1: "a cat"}


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.md", "a.jsonl", "a"])
def test_a_header_makes_a_table_of_any_file(name: str) -> None:
    reading = Reading(name, b"prompt,n\na cat,2\n")

    assert (reading.summary.format, reading.prompts, reading.values("n")) == ("csv", {2: "a cat"}, [2])


def test_a_text_with_commas_stays_a_text() -> None:
    reading = Reading("a.txt", b"a cat, red, on a sofa\n\na dog; size of a horse\n{curly|straight} hair\n")

    assert reading.summary.format == "txt"
    assert reading.prompts == {1: "a cat, red, on a sofa", 3: "a dog; size of a horse", 4: "{curly|straight} hair"}
    assert reading.summary.empty_rows == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xls", b"\xd0\xcf\x11\xe0" + bytes(100), "save it as .xlsx"),
        ("a.txt", b"\x89PNG\r\n\x1a\n", "an image"),
        ("a.csv", b"%PDF-1.7", "a PDF"),
        ("a.xlsx", with_parts(xlsx([["prompt"]]), {})[:400], "damaged"),
        ("a.toml", b"a = 1\n", "named .toml is unknown"),
        ("a.jsonl", b"[\n" + JSONL.encode() + b"]", "one JSON list"),
    ],
)
def test_a_file_that_is_something_else_is_refused_with_a_cure(name: str, content: bytes, words: str) -> None:
    reading = Reading(name, content)

    assert not reading.lines
    ((line, message),) = reading.errors
    assert line is None
    assert words in message


def test_a_zip_that_is_no_excel_file_is_refused() -> None:
    content = with_parts(xlsx([["prompt"]]), {})
    document = content.replace(b"[Content_Types].xml", b"[Content_Typez].xml")

    assert Reading("a.docx", document).errors == [(None, "The file is a ZIP archive, but no Excel file (.xlsx).")]


# Separators


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt"])
def test_every_usual_separator_is_recognised(separator: str, name: str) -> None:
    table = f'prompt{separator}n\r\n"a, b; c\td|e\r\nf"{separator}2\r\nx{separator}3\r\n'

    reading = Reading(name, table.encode())

    assert reading.prompts == {2: "a, b; c\td|e\r\nf", 3: "x"}
    assert (reading.values("n"), reading.summary.separator) == ([2, 3], separator)


def test_excels_own_line_about_the_separator_is_understood() -> None:
    assert Reading("a.csv", b"\xef\xbb\xbfsep=;\r\nprompt;n\r\na, b;2\r\n").prompts == {2: "a, b"}


def test_an_odd_line_about_the_separator_is_a_row() -> None:
    assert Reading("a.csv", b'sep="\nprompt,n\na,2\n').errors[0][0] == 2
    assert Reading("a.txt", b"sep=\x00\na cat\n").prompts[2] == "a cat"


def test_decimal_commas_of_a_table_are_numbers() -> None:
    reading = Reading("a.csv", b"prompt;guidance_scale;postprocess.sharpen\na;7,5;0,5\n")

    assert reading.values("guidance_scale") == [7.5]
    assert reading.lines[0].request.request.postprocess.sharpen == 0.5  # type: ignore[union-attr]  # is there


def test_one_column_needs_no_quotes_and_no_header() -> None:
    assert Reading("a.csv", b'prompt\na cat, red\n"a dog, ""big"""\n').prompts == {2: "a cat, red", 3: 'a dog, "big"'}
    reading = Reading("a.csv", b"a red cat\n\na dog\n")
    assert (reading.prompts, reading.summary.has_header) == ({1: "a red cat", 3: "a dog"}, False)
    assert Reading("a.xlsx", xlsx([["a red cat"], ["a dog"]])).prompts == {1: "a red cat", 2: "a dog"}


def test_line_ends_of_an_old_mac_are_line_ends() -> None:
    assert Reading("a.csv", b"prompt;n\ra;2\rb;3\r").prompts == {2: "a", 3: "b"}


# Encodings


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_unicode_is_read_without_a_guess(encoding: str) -> None:
    reading = Reading("a.csv", "Prompt;N\nEin Hündchen;2\n猫 🐈;1\n".encode(encoding))

    assert reading.prompts == {2: "Ein Hündchen", 3: "猫 🐈"}
    assert not reading.summary.encoding_is_guess


@pytest.mark.parametrize(
    ("text", "encoding", "name"),
    [
        ("prompt;n\nEin Hündchen läuft über die Straße;2\n", "cp1252", "cp1252"),
        ("prompt\nUne forêt\n", "cp1252", "cp1252"),
        ("prompt\nEl niño juega\n", "cp1252", "cp1252"),
        ("prompt\nUm cão e uma maçã\n", "cp1252", "cp1252"),
        ("prompt\nit’s “quoted” – 5 €\n", "cp1252", "cp1252"),
        ("prompt\n一只坐在沙发上的猫\n海边的红色房子\n", "gbk", "gbk"),
        ("prompt,n\n红色的房子,2\n", "gbk", "gbk"),
        ("prompt\nŁódź i żółw, zażółć gęślą jaźń\n", "cp1250", "cp1250"),
        ("prompt\nКошка сидит на диване\n", "cp1251", "cp1251"),
        ("prompt\n夜の街を歩く猫、ネオン\nソファに座っている猫\n", "cp932", "shift_jis"),
        ("prompt\n一隻坐在沙發上的貓\n海邊的紅色房子\n", "big5", "big5"),
    ],
)
def test_an_old_encoding_is_guessed_and_named_with_an_example(text: str, encoding: str, name: str) -> None:
    reading = Reading("a.csv", text.encode(encoding))

    expected = [line.removesuffix(";2").removesuffix(",2") for line in text.splitlines()[1:]]
    assert list(reading.prompts.values()) == expected
    assert (reading.summary.encoding, reading.summary.encoding_is_guess) == (name, True)
    assert reading.summary.example in text  # type: ignore[operator]  # a guess has one


def test_bytes_without_a_meaning_are_named_with_their_line() -> None:
    damaged = Reading("a.txt", "ä\nö ü ä\n".encode() + b"bad \xff\nfine\n")
    cut = Reading("a.csv", b"\xff\xfe" + "prompt\na\n".encode("utf-16-le") + b"\x00\xd8a")

    assert damaged.errors == [(3, "The line is not valid UTF-8, from byte 5 on.")]
    assert damaged.prompts == {1: "ä", 2: "ö ü ä", 4: "fine"}
    assert cut.errors == [(3, "The line is not valid utf-16-le. Save the file as UTF-8. Nothing of it was read.")]


# Headers


def test_names_of_columns_need_not_have_our_case() -> None:
    reading = Reading("a.csv", b" Prompt ,Custom ID,Negative-Prompt,POSTPROCESS.Upscale,Metadata.Album\na,b,c,2,d\n")

    (line,) = reading.lines
    request = line.request.request
    assert (line.custom_id, request.negative_prompt, request.metadata) == ("b", "c", {"Album": "d"})
    assert request.postprocess is not None
    assert request.postprocess.upscale == 2


def test_a_column_that_is_no_parameter_is_said_once_with_the_cure() -> None:
    table = "prompt,notes,Rezolution,size\n" + "a cat,x,y,64x64\n" * 500 + "a dog,x,y,1x\n"

    reading = Reading("a.csv", table.encode())

    (number, message), *others = reading.errors
    assert number == 1
    for words in ("'notes'", "'Rezolution'", "rename or delete them", "extra_columns=metadata", "--keep-columns"):
        assert words in message
    assert others == []
    assert len(reading.lines) == 501


@pytest.mark.parametrize(
    ("column", "name"),
    [("text", "prompt"), ("Promt", "prompt"), ("Beschreibung", "prompt"), ("提示词", "prompt"), ("ID", "custom_id"),
     ("Anzahl", "n"), ("cfg scale", "guidance_scale"), ("resolution", "size"), ("negative", "negative_prompt")],
)  # fmt: skip
def test_a_usual_other_name_is_refused_with_ours(column: str, name: str) -> None:
    reading = Reading("a.csv", f"prompt,{column}\na,b\n".encode() if name != "prompt" else f"{column}\na\n".encode())

    assert f"'{column}' (do you mean {name}?)" in reading.errors[0][1]


def test_a_table_without_prompts_is_one_error() -> None:
    reading = Reading("a.csv", b"text,n\na,1\nb,2\n")

    assert [number for number, _ in reading.errors] == [1, 1]
    assert reading.errors[1][1].startswith("The header has no column named prompt. Rename the column 'text' to prompt.")
    assert Reading("a.csv", b"seed\n1\n2\n", prompt="a cat").errors == []
    assert Reading("a.csv", b"image.file_id,operation\nfile-1,variation\n", JOBS_ENDPOINT).errors == []


def test_a_first_line_that_is_no_header_is_said_to_be_that() -> None:
    assert Reading("a.csv", b"a cat,512x512\na dog,512x512\n").errors == [
        (
            1,
            "The first line is no header: 'a cat', '512x512' are no names of parameters. Add a line above it that "
            "names the columns, such as prompt,size. Nothing was read.",
        )
    ]
    assert Reading("a.csv", b"My prompts\n\nprompt,n\na cat,2\n").errors == [
        (3, "The header is in this line: delete what is above it. The first line must name the columns.")
    ]
    ((number, message),) = Reading("a.xlsx", xlsx([["a red cat"], ["a dog", "512x512"]])).errors
    assert (number, "there is no header" in message) == (2, True)


def test_other_columns_become_metadata_within_its_bounds_told_once() -> None:
    kept = Reading("a.csv", b"prompt,Notes,metadata.album\na,x,y\nb,,\n", extra="metadata")
    many = "prompt," + ",".join(f"c{n}" for n in range(17)) + "\n" + "a" + ",x" * 17 + "\n"
    long_value = Reading("a.csv", ("prompt,notes\n" + f"a,{'x' * 513}\n" * 300 + "b,y\n").encode(), extra="metadata")

    assert kept.values("metadata") == [{"Notes": "x", "album": "y"}, {}]
    assert kept.summary.metadata_columns == ["Notes", "album"]
    assert [message for _, message in Reading("a.csv", many.encode(), extra="metadata").errors] == [
        "The table has 17 columns for metadata; a job has at most 16 entries. Delete columns that you do not need."
    ]
    ((number, message),) = long_value.errors
    assert (number, "metadata.notes has 513 characters" in message) == (2, True)
    ((_, message),) = Reading("a.csv", f"prompt,{'k' * 65}\na,b\n".encode(), extra="metadata").errors
    assert "1 to 64" in message


def test_rows_have_the_number_that_a_spreadsheet_shows() -> None:
    reading = Reading("a.csv", b'prompt,n\n"two\nlines",1\n\n,\na,many\n"never ends\n')

    assert (list(reading.prompts), reading.summary.empty_rows) == ([2], 2)
    assert [number for number, _ in reading.errors] == [5, 6]


@pytest.mark.parametrize("end", ["", ",,,", ", , "])
def test_empty_cells_behind_the_last_column_do_no_harm(end: str) -> None:
    assert Reading("a.csv", f"prompt,n{end}\na,2{end}\n".encode()).prompts == {2: "a"}


def test_a_cell_outside_the_columns_is_an_error() -> None:
    hint = "A text that contains the separator or a line end must be in quotes."
    assert [message for _, message in Reading("a.csv", b"prompt,n\na,2,x\nb\n").errors] == [
        f"The row has 3 cells, but the header has 2. {hint}",
        f"The row has 1 cell, but the header has 2. {hint}",
    ]
    assert [message for _, message in Reading("a.csv", b"prompt,,n\na,x,2\n").errors] == [
        "The cell 'x' is in column 2, which has no name in the header."
    ]
