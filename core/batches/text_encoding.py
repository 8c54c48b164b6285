"""The encoding of a text file: from its byte order mark, UTF-8 if it is that, else a guess.

A guess may be wrong, so the summary of the file names it, with a text from the file that shows whether it is right.
"""

import codecs
import re
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO

from charset_normalizer import from_bytes

from core.batches.line_errors import end

SPOOL_BYTES = 4 * 2**20
"""Bytes of a file in memory; more are on disk."""

CHUNK = 2**18
SAMPLE_BYTES = 2**14
"""Bytes from which an encoding is guessed. Charset-normalizer reads them once for each candidate."""

MAX_EXAMPLE_CHARS = 80
SHORT = 12
"""With fewer non-ASCII bytes, statistics say nothing about the languages of Europe: Western Europe is assumed."""

_BOMS = [
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins with the mark of UTF-16, so it comes first
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
]
_WESTERN = ["cp1252", "cp1250", "cp1254"]
_NON_LATIN = ["gb18030", "cp932", "big5", "cp949", "cp1251", "cp1253"]
_DISPLAY_NAMES = {"gb18030": "gbk", "cp932": "shift_jis", "cp949": "euc-kr"}
"""Names that people know. Each is read by the larger encoding that contains it."""

_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_USUAL = re.compile("[À-ÖØ-öø-ÿŒœŠšŽžŸ’‘“”„–—…€«»°ºª¿¡]")
"""Characters beyond ASCII that are frequent in the languages of Western Europe."""

_HIGH_RUN = re.compile(rb"[\x80-\xff]+")


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of a file.

    name: as Python knows it. bom_bytes: of its byte order mark. example: of a guess, a text that has characters
    beyond ASCII, decoded; None: the encoding is no guess.
    """

    name: str
    bom_bytes: int = 0
    example: str | None = None

    @property
    def display_name(self) -> str:
        """The name for people."""
        return _DISPLAY_NAMES.get(self.name, self.name)


UTF_8 = Encoding("utf-8")


def encoding_of_bom(head: bytes) -> Encoding | None:
    """The encoding that the first bytes of a file name, by a byte order mark or the zeros of UTF-16."""
    for bom, name in _BOMS:
        if head.startswith(bom):
            return Encoding(name, len(bom))
    if len(head) >= 4 and (head[0] == 0) != (head[1] == 0) and (head[0] == 0) == (head[2] == 0):
        return Encoding("utf-16-be" if head[0] == 0 else "utf-16-le")
    return None


def detect(file: IO[bytes]) -> Encoding:
    """The encoding of a file that has no mark. It is read as a whole."""
    if _is_utf_8(file):
        return UTF_8
    sample = _sample(file)
    multibyte = sum(len(match) for match in _MULTIBYTE.findall(sample))
    highs = sum(len(run) for run in _HIGH_RUN.findall(sample))
    if 2 * multibyte > highs:  # UTF-8 with a few damaged bytes, whose lines are errors
        return UTF_8
    name = _guess(sample)
    return Encoding(name, example=_example(sample.decode(name, errors="replace")))


def _is_utf_8(file: IO[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while chunk := file.read(CHUNK):
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _sample(file: IO[bytes]) -> bytes:
    """The lines that are not ASCII, up to SAMPLE_BYTES: they alone tell encodings apart."""
    file.seek(0)
    sample = bytearray()
    while len(sample) < SAMPLE_BYTES and (line := file.readline(SAMPLE_BYTES)):
        if not line.isascii():
            sample += line
    return bytes(sample)


def _guess(sample: bytes) -> str:
    highs = sum(map(len, _HIGH_RUN.findall(sample)))
    is_western = _looks_western(sample.decode("cp1252", errors="replace"))
    if is_western and highs < SHORT:
        return "cp1252"
    best = from_bytes(sample, cp_isolation=_WESTERN if is_western else [*_NON_LATIN, *_WESTERN]).best()
    if best is None or str(best) == sample.decode("cp1252", errors="replace"):
        return "cp1252"
    if best.encoding in ("big5", "cp932", "cp949") and highs < 2 * SHORT and _is_gb_2312(sample):
        return "gb18030"
    return best.encoding


def _looks_western(text: str) -> bool:
    """Whether a text that was decoded as cp1252 may be a language of Europe: some letters have accents, most do not."""
    highs = [character for character in text if not character.isascii()]
    letters = sum(character.isalpha() for character in highs)
    ascii_letters = sum(character.isascii() and character.isalpha() for character in text)
    usual = sum(_USUAL.match(character) is not None for character in highs)
    return letters < ascii_letters and usual >= 0.9 * len(highs)


def _is_gb_2312(sample: bytes) -> bool:
    try:
        sample.decode("gb2312")
    except UnicodeDecodeError:
        return False
    return True


def _example(text: str) -> str:
    """The first text of a sample that has characters beyond ASCII."""
    match = re.search(r"[^\x00-\x1f]{0,30}[^\x00-\x7f][^\x00-\x1f]{0,49}", text)
    return "" if match is None else match[0].strip()[:MAX_EXAMPLE_CHARS]


def transcode(file: IO[bytes], encoding: Encoding) -> IO[bytes]:
    """A file as UTF-8, in a new spool. Raises EndOfReading with the line of a byte that has no meaning."""
    decoder = codecs.getincrementaldecoder(encoding.name)()
    output = SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 - the caller closes it
    file.seek(encoding.bom_bytes)
    number, is_last = 1, False
    while not is_last:
        chunk = file.read(CHUNK)
        is_last = not chunk
        try:
            text = decoder.decode(chunk, final=is_last)
        except UnicodeDecodeError as error:
            output.close()
            number += error.object[: error.start].decode(encoding.name, errors="ignore").count("\n")
            end(
                number,
                f"The line is not valid {encoding.display_name}. Save the file as UTF-8. Nothing of it was read.",
            )
        number += text.count("\n")
        output.write(text.encode(errors="replace"))  # a lone surrogate of UTF-16
    output.seek(0)
    return output
