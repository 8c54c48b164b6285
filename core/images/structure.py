"""Limits for the structure of image files, checked before Pillow parses them.

A file of few pixels can still take long to parse: Pillow reads markers and chunks one by one in Python, and a
progressive JPEG goes through all its pixels again for each scan. Cameras and editors stay far below these limits.
"""

import re

MAX_SEGMENTS = 2000
"""Segments of a JPEG. A profile has at most 255, a depth map of 25 MB some 400."""

MAX_SCANS = 100
"""Scans of a JPEG. Encoders write 10 to 30."""

MAX_CHUNKS = 50_000
"""Chunks of a PNG. 25 MB are 3,000 chunks of the usual 8 KiB."""

_MARKER = re.compile(rb"[\x00\xff]{0,255}?\xff([\x01-\xfe])")
_MARKER_AFTER_SCAN = re.compile(
    rb"\xff+([\x01-\xcf\xd8-\xfe])"
)  # in a scan, FF 00 is data and FF D0 to D7 are restarts
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])


def check(kind: str, data: bytes) -> None:
    """Check the structure of a JPEG or PNG. Raises ValueError."""
    if kind == "JPEG":
        _check_jpeg(data)
    elif kind == "PNG":
        _check_png(data)


def _check_jpeg(data: bytes) -> None:
    position, scans = 2, 0
    for _ in range(MAX_SEGMENTS):
        match = _MARKER_AFTER_SCAN.search(data, position) if scans else _MARKER.match(data, position)
        if match is None and scans:
            return
        if match is None:
            raise ValueError(f"it has no marker at byte {position}")
        code, position = match[1][0], match.end()
        if code == _END_OF_IMAGE:
            if not scans:
                raise ValueError("it ends before its pixels")
            return
        if code == _START_OF_SCAN:
            scans += 1
            if scans > MAX_SCANS:
                raise ValueError(f"it has more than {MAX_SCANS} scans")
        if code not in _WITHOUT_LENGTH:
            position += max(2, int.from_bytes(data[position : position + 2]))
    raise ValueError(f"it has more than {MAX_SEGMENTS} segments")


def _check_png(data: bytes) -> None:
    position = 8
    for _ in range(MAX_CHUNKS):
        if position >= len(data) or data[position + 4 : position + 8] == b"IEND":
            return
        position += 12 + int.from_bytes(data[position : position + 4])  # length, type, data, checksum
    raise ValueError(f"it has more than {MAX_CHUNKS} chunks")
