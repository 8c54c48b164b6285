"""The training file: both kinds are read, each wrong line is named, and nothing is unbounded."""

import io
import json
import zipfile
from collections.abc import Sequence

import pytest

from core.errors import InvalidRequest
from core.fine_tuning.training_file import Bounds, Pair, PairError, read_pairs
from tests.fine_tuning.files import a_line, a_zip, an_image, lines

BOUNDS = Bounds(images=4, image_bytes=10_000, caption_chars=100)
IMAGE = an_image("red")


def pairs(content: bytes, bounds: Bounds = BOUNDS) -> Sequence[Pair | PairError]:
    return list(read_pairs(io.BytesIO(content), bounds))


def test_json_lines_have_images_or_the_ids_of_files() -> None:
    content = lines(a_line("red"), {"image": "file-1", "caption": " a flag "}) + b"\n"
    assert pairs(content) == [Pair("line 1", IMAGE, "a flag"), Pair("line 2", "file-1", "a flag")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b'{"image": "file-1"}', "text is required"),
        (b'{"image": "file-1", "text": "a", "prompt": "b"}', "must not both"),
        (b'{"image": "file-1", "text": " "}', "must not be empty"),
        (b'{"image": "file-1", "text": "a", "mask": 1}', "mask"),
        (b'{"image": "https://example.com/a.png", "text": "a"}', "links are not fetched"),
        (b'{"image": "file-\\u0000", "text": "a"}', "the id of a file"),
        (b'{"image": "data:image/png;base64,?", "text": "a"}', "base64"),
        (b'{"image": "data:image/png;base64,' + b"A" * 13_400 + b'", "text": "a"}', "10000"),
        (json.dumps({"image": "file-1", "text": "a" * 101}).encode(), "101 characters"),
    ],
)
def test_a_wrong_line_is_named(line: bytes, message: str) -> None:
    (error,) = pairs(line)
    assert isinstance(error, PairError)
    assert error.place == "line 1"
    assert message in error.message


def test_a_zip_has_captions_beside_its_images_or_in_metadata() -> None:
    beside = a_zip({"a/1.png": IMAGE, "a/1.txt": b"a flag\n", "__MACOSX/._1.png": b"", ".DS_Store": b""})
    assert pairs(beside) == [Pair("'a/1.png'", IMAGE, "a flag")]
    metadata = lines({"file_name": "1.png", "text": "a flag"})
    assert pairs(a_zip({"a/1.png": IMAGE, "a/metadata.jsonl": metadata})) == [Pair("'a/1.png'", IMAGE, "a flag")]
    (error,) = pairs(a_zip({"1.png": IMAGE}))
    assert isinstance(error, PairError)
    assert ".txt" in error.message


def test_a_zip_that_expands_too_far_is_refused() -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("1.png", bytes(10_000_000))
        archive.writestr("1.txt", "a flag")
    (error,) = pairs(content.getvalue())
    assert isinstance(error, PairError)
    assert "more than 10000 bytes" in error.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no images"),
        (b"PK\x03\x04broken", "ZIP cannot be read"),
        (lines(*[a_line("red")] * 5), "more than 4 images"),
        (b"x" * 200_000, "longer than"),
        (b"\n" * 41, "more than 40 lines"),
        (a_zip({f"{number:0>400}/": b"" for number in range(3000)}), "directory is longer"),
        (a_zip({f"{number}.txt": b"a" for number in range(10)}), "10 files"),
        (a_zip({"1.png": IMAGE, "metadata.jsonl": b"{}"}), "file_name is required"),
    ],
)
def test_a_file_beyond_its_bounds_is_not_read_on(content: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        pairs(content)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_another_compression_is_refused(method: int) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        archive.writestr("1.png", IMAGE)
        archive.writestr("1.txt", "a flag")
    (error,) = pairs(content.getvalue())
    assert isinstance(error, PairError)
    assert "deflate" in error.message
