"""The texts in an image file, such as an infotext. It runs in a decoder process (`core/images/decoders.py`)."""

import io
from collections.abc import Mapping

from PIL import Image

from core.images import decode
from core.images.decode import Limits

INFOTEXT = "parameters"
"""The name of the infotext (`core/parameters/infotext.py`), also if it is a comment of EXIF data, as in JPEG files."""

MAX_TEXTS = 50
MAX_CHARS = 100_000
"""Characters of one text."""

_EXIF, _USER_COMMENT = 0x8769, 0x9286
_UTF16 = b"UNICODE\0"


def read_texts(data: Mapping[str, bytes], limits: Limits) -> dict[str, str]:
    """The texts of the only image in `data`, by their names. Raises InvalidParameter if it cannot be decoded."""
    ((name, content),) = data.items()
    decode.load(content, limits, name)  # what it accepts has no damage
    with Image.open(io.BytesIO(content)) as image:
        image.load()  # a text may stand behind the pixels
        texts = {key: value for key, value in image.info.items() if isinstance(key, str) and isinstance(value, str)}
        comment = image.getexif().get_ifd(_EXIF).get(_USER_COMMENT)
    if isinstance(comment, bytes):
        texts.setdefault(INFOTEXT, _decode_comment(comment))
    return {key[:MAX_CHARS]: text[:MAX_CHARS] for key, text in list(texts.items())[:MAX_TEXTS]}


def _decode_comment(comment: bytes) -> str:
    """A comment of EXIF data: 8 bytes name its encoding."""
    encoding = "utf-16-be" if comment.startswith(_UTF16) else "utf-8"
    return comment[len(_UTF16) :].decode(encoding, errors="replace").rstrip("\0")
