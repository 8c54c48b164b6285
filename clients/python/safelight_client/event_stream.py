"""Server-sent events (WHATWG HTML, section 9.2.6)."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

IDLE_SECONDS = 45.0
"""Maximum time without data on a stream. The API sends a comment about every 15 s."""

ERROR = "error"
"""The type of a message with which the API ends a stream; the response to the next request is that error."""

FIRST = "0"
"""The `Last-Event-ID` before the first event."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream. id: None for progress and previews, which are not stored."""

    id: str | None
    type: str
    data: Mapping[str, Any]


class Parser:
    """Makes messages of the bytes of a stream; comments are skipped.

    Only a line feed ends a line: prompts may have other characters at which `splitlines` splits, such as U+2028.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._fields: dict[str, str] = {}

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """Take the next bytes; returns the messages that they end."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            message = self._take(line.decode().removesuffix("\r"))
            if message is not None:
                yield message

    def _take(self, line: str) -> Message | None:
        if line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        data = json.loads(fields["data"])
        return Message(fields.get("id"), fields.get("event", ""), data.get("data", data))


@dataclass(frozen=True, slots=True)
class Preview:
    """A preview of an image during its generation. index: of the image in the job. media_type: of `content`."""

    index: int
    partial_image_index: int
    step: int
    steps: int
    media_type: str
    content: bytes


def preview_of(data: Mapping[str, Any]) -> Preview:
    """The preview in the data of a message."""
    names = ("index", "partial_image_index", "step", "steps", "media_type")
    return Preview(**{name: data[name] for name in names}, content=base64.b64decode(data["b64_json"]))
