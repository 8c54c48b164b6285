"""Reads lines of JSONL that repeat an earlier line except for their custom_id, prompt and seed, without parsing them.

A line whose other bytes are equal to those of a line that was parsed has the same request. Most files are like that,
and parsing takes most of the time of reading a line.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from core.batches.line_parser import LineRequest
from core.parameters.job import SEEDS
from core.requests.structure import MAX_SEPARATORS
from core.text import check_printable

_CHARACTERS = rb'[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*'
_KEY = rb'(?<!\\)"%s"[ \t]*:[ \t]*'
_VALUES = {"custom_id": _CHARACTERS, "prompt": _CHARACTERS, "seed": b"(?:0|[1-9][0-9]{0,9})"}
_QUOTES = {"custom_id": b'"', "prompt": b'"', "seed": b""}
_ENTRIES = {
    name: re.compile(_KEY % name.encode() + _QUOTES[name] + b"(%s)" % value + (_QUOTES[name] or rb"(?=[ \t]*[,}])"))
    for name, value in _VALUES.items()
}
MAX_CUSTOM_ID_CHARS = 256


Values = tuple[str, str, int | None]
"""What a line has of its own: its custom_id, its prompt and its seed."""


class LineShape:
    """The bytes of a line without the values of its custom_id, prompt and seed; and its request.

    request: that of all lines of this shape.
    """

    def __init__(self, pattern: re.Pattern[bytes], names: list[str], seed: int | None, request: LineRequest) -> None:
        self._match = pattern.fullmatch
        self._custom_id, self._prompt = names.index("custom_id"), names.index("prompt")
        self._seed_index = names.index("seed") if "seed" in names else None
        self._seed = seed
        self.request = request

    @classmethod
    def find(cls, raw: bytes, custom_id: str, body: Mapping[str, Any], request: LineRequest) -> "LineShape | None":
        """The shape of a valid line; None: it cannot be told where the values are."""
        spans = []
        own = {"custom_id": custom_id, "prompt": body.get("prompt"), "seed": body.get("seed")}
        for name, value in own.items():
            if name == "seed" and value is None:
                continue
            span = _find(raw, name, value)
            if span is None:
                return None
            spans.append((*span, name))
        pattern, end, fixed_bytes = b"", 0, b""
        for first, last, name in sorted(spans):
            pattern += re.escape(raw[end:first]) + b"(%s)" % _VALUES[name]
            fixed_bytes += raw[end:first]
            end = last
        if rb"\u" in fixed_bytes + raw[end:]:  # a key may be escaped: `"prom\u0070t"` is the prompt too
            return None
        pattern += re.escape(raw[end:].rstrip(b" \t\r\n")) + rb"[ \t\r\n]*"
        return cls(re.compile(pattern, re.DOTALL), [name for *_, name in sorted(spans)], body.get("seed"), request)

    def read(self, raw: bytes) -> Values | None:
        """The values of a line; None: it has another shape, or a value that is not valid."""
        match = self._match(raw)
        if match is None or len(raw) > MAX_SEPARATORS:
            return None
        groups = match.groups()
        custom_id_bytes, prompt_bytes = groups[self._custom_id], groups[self._prompt]
        try:
            if b"\\" in raw or b"\x7f" in raw:
                custom_id, prompt = _read_text(custom_id_bytes), _read_text(prompt_bytes)
            else:
                custom_id, prompt = custom_id_bytes.decode(), prompt_bytes.decode()
        except ValueError:  # the parser explains it
            return None
        if not 0 < len(custom_id) <= MAX_CUSTOM_ID_CHARS or not prompt or prompt.isspace():
            return None
        seed = self._seed
        if self._seed_index is not None and (seed := int(groups[self._seed_index])) >= SEEDS:
            return None
        return custom_id, prompt, seed


def _find(raw: bytes, name: str, value: Any) -> tuple[int, int] | None:
    """Where the value of the only key of a name is, without its quotes."""
    matches = list(_ENTRIES[name].finditer(raw))
    if len(matches) != 1:
        return None
    try:
        decoded_value = int(matches[0][1]) if name == "seed" else json.loads(b'"%s"' % matches[0][1])
    except ValueError:
        return None
    return matches[0].span(1) if type(value) is type(decoded_value) and decoded_value == value else None


def _read_text(content: bytes) -> str:
    """The text of a JSON string without its quotes. Raises ValueError for what cannot be stored, or is not JSON."""
    text = json.loads(b'"%s"' % content)
    text.encode()  # a lone surrogate cannot be
    return check_printable(text)
