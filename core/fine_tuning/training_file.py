"""Reads a training file: pairs of an image and its caption, from JSON lines or from a ZIP of images.

JSON lines: `{"image": "data:image/png;base64,…" or "file-…", "text": "…"}`; `caption` and `prompt` are other names of
`text`. ZIP: images with a text file of the same name beside each, or with metadata.jsonl (`file_name` and `text`), as
the `imagefolder` of Hugging Face's datasets. The file comes from a client: images, bytes and names are bounded, and
nothing is extracted to a path.
"""

import base64
import binascii
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Any

from core.errors import InvalidParameter, InvalidRequest, SafelightError
from core.requests.structure import load_json
from core.text import quote

TEXT_NAMES = ("text", "caption", "prompt")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif", ".heic", ".heif")
METADATA = "metadata.jsonl"
ZIP = b"PK\x03\x04"
"""How a ZIP file begins."""
MAX_CAPTION_BYTES = 100_000
MAX_METADATA_BYTES = 16_000_000
MAX_FILE_ID_CHARS = 64
DIRECTORY_BYTES = 4096
"""Bytes of a ZIP's directory for each image: names of an image, its caption and what operating systems add to them."""
LINES = 10
"""Lines for each image, of which the others are empty."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a training file."""

    images: int
    image_bytes: int
    caption_chars: int


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its caption. place: a line, or a name in a ZIP, for messages. image: its file, or the id of one."""

    place: str
    image: bytes | str
    caption: str


@dataclass(frozen=True, slots=True)
class PairError:
    """What is wrong with a pair."""

    place: str
    message: str


def read_pairs(file: IO[bytes], bounds: Bounds) -> Iterator[Pair | PairError]:
    """The pairs of a file, or what is wrong with them. Raises InvalidRequest if the file cannot be read on."""
    start = file.read(len(ZIP))
    file.seek(0)
    pairs = _read_zip(file, bounds) if start == ZIP else _read_lines(file, bounds)
    count = 0
    for pair in pairs:
        count += 1
        if count > bounds.images:
            raise InvalidRequest(f"The file has more than {bounds.images} images.")
        yield pair
    if not count:
        raise InvalidRequest("The file has no images.")


def _read_lines(file: IO[bytes], bounds: Bounds) -> Iterator[Pair | PairError]:
    limit = bounds.image_bytes * 4 // 3 + MAX_CAPTION_BYTES
    number = 0
    while line := file.readline(limit + 1):
        number += 1
        if number > LINES * bounds.images:
            raise InvalidRequest(f"The file has more than {LINES * bounds.images} lines.")
        if len(line) > limit:
            raise InvalidRequest(f"Line {number} is longer than {limit} bytes.")
        if line.strip():
            yield _pair_of_line(f"line {number}", line, bounds)


def _pair_of_line(place: str, line: bytes, bounds: Bounds) -> Pair | PairError:
    try:
        values = _object(line)
        if unknown := values.keys() - {"image", *TEXT_NAMES}:
            raise InvalidParameter(f"{quote(min(unknown))} is no field of a pair; there are image and text.")
        image = values.get("image")
        if not isinstance(image, str) or not image:
            raise InvalidParameter("image must be a data URL, or the id of a file with purpose vision.")
        content: bytes | str = image
        if image.startswith("data:"):
            content = _decode(image, bounds)
        elif not (image.startswith("file-") and image.isprintable() and len(image) <= MAX_FILE_ID_CHARS):
            raise InvalidParameter("image must be a data URL, or the id of a file: links are not fetched.")
        return Pair(place, content, _caption(values, bounds))
    except SafelightError as error:
        return PairError(place, error.message)


def _object(line: bytes) -> Mapping[str, Any]:
    values = load_json(line)
    if not isinstance(values, dict):
        raise InvalidParameter("a line must be an object with image and text.")
    return values


def _decode(url: str, bounds: Bounds) -> bytes:
    header, _, text = url.partition(",")
    if not header.endswith(";base64"):
        raise InvalidParameter("image must be a data URL in base64.")
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidParameter("image is not valid base64.") from None
    if len(content) > bounds.image_bytes:
        raise InvalidParameter(f"image has {len(content)} bytes; there may be {bounds.image_bytes}.")
    return content


def _caption(values: Mapping[str, Any], bounds: Bounds) -> str:
    names = [name for name in TEXT_NAMES if values.get(name) is not None]
    if len(names) != 1:
        raise InvalidParameter("text is required." if not names else f"{names[0]} and {names[1]} must not both be set.")
    return _check_caption(values[names[0]], bounds)


def _check_caption(caption: Any, bounds: Bounds) -> str:
    if not isinstance(caption, str) or not caption.strip():
        raise InvalidParameter("text must not be empty.")
    if "\0" in caption:
        raise InvalidParameter("text must not contain the character U+0000.")
    if len(caption) > bounds.caption_chars:
        raise InvalidParameter(f"text has {len(caption)} characters; the model accepts {bounds.caption_chars}.")
    return caption.strip()


class _BoundedReads:
    """A file whose reads are bounded. `zipfile` reads the whole directory of a ZIP before it says how long it is."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._limit = limit
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; all, if it is negative: `zipfile` reads only the file's end so. Raises InvalidRequest."""
        if size > self._limit:
            raise InvalidRequest(f"The ZIP's directory is longer than {self._limit} bytes: it has too many files.")
        return self._file.read(size if size >= 0 else self._limit)


def _read_zip(file: IO[bytes], bounds: Bounds) -> Iterator[Pair | PairError]:
    reads: Any = _BoundedReads(file, max(2**20, DIRECTORY_BYTES * bounds.images))
    try:
        with zipfile.ZipFile(reads) as archive:
            entries = [entry for entry in archive.infolist() if not _is_skipped(entry)]
            if len(entries) > 2 * bounds.images + 1:
                raise InvalidRequest(f"The ZIP has {len(entries)} files; {bounds.images} images are allowed.")
            by_name = {entry.filename: entry for entry in entries}
            captions = _read_metadata(archive, by_name)
            for name, entry in by_name.items():
                if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
                    yield _pair_of_entry(archive, entry, by_name, captions, bounds)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"The ZIP cannot be read: {type(error).__name__}.") from None


def _is_skipped(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is a directory or what an operating system adds."""
    parts = PurePosixPath(entry.filename).parts
    return entry.is_dir() or any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _read_metadata(archive: zipfile.ZipFile, by_name: Mapping[str, zipfile.ZipInfo]) -> Mapping[str, str | None] | None:
    """The captions of metadata.jsonl by name; None without such a file."""
    path = next((name for name in by_name if PurePosixPath(name).name == METADATA), None)
    if path is None:
        return None
    captions: dict[str, str | None] = {}
    text = _read(archive, by_name[path], MAX_METADATA_BYTES)
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = _object(line)
            name = values["file_name"]
            caption = next((values[key] for key in TEXT_NAMES if key in values), None)
            captions[str(PurePosixPath(path).parent / str(name))] = caption
        except SafelightError as error:
            raise InvalidRequest(f"{METADATA}, line {number}: {error.message}") from None
        except KeyError:
            raise InvalidRequest(f"{METADATA}, line {number}: file_name is required.") from None
    return captions


def _pair_of_entry(
    archive: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    by_name: Mapping[str, zipfile.ZipInfo],
    captions: Mapping[str, str | None] | None,
    bounds: Bounds,
) -> Pair | PairError:
    name = entry.filename
    place = quote(name)
    try:
        if captions is not None:
            caption: Any = captions.get(name)
            if caption is None:
                raise InvalidParameter(f"{METADATA} has no text for it.")
        else:
            path = str(PurePosixPath(name).with_suffix(".txt"))
            if path not in by_name:
                raise InvalidParameter("there is no .txt of the same name beside it, with its caption.")
            caption = _read(archive, by_name[path], MAX_CAPTION_BYTES).decode("utf-8-sig")
        return Pair(place, _read(archive, entry, bounds.image_bytes), _check_caption(caption, bounds))
    except UnicodeDecodeError:
        return PairError(place, "its caption is not UTF-8.")
    except SafelightError as error:
        return PairError(place, error.message)


def _read(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limit: int) -> bytes:
    """The content of an entry. Its size is what it has, not what its header says."""
    if entry.flag_bits & 1:
        raise InvalidParameter("it is encrypted.")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # others may allocate without a bound
        raise InvalidParameter("its compression is not supported: use deflate, or none.")
    with archive.open(entry) as file:
        content = io.BytesIO()
        while chunk := file.read(min(2**20, limit + 1 - content.tell())):
            content.write(chunk)
            if content.tell() > limit:
                raise InvalidParameter(f"it has more than {limit} bytes.")
    return content.getvalue()
