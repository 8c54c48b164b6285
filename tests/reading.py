"""What a file of prompts is read as."""

from typing import Any

from core.batches.input_file import parse_lines
from core.batches.input_summary import InputSummary
from core.batches.line import Line, ReadOptions
from core.batches.requests import ExtraColumns

IMAGES = "/v1/images/generations"


class Reading:
    """What a file was read as. prompts: by the number of the line. errors: line and message."""

    def __init__(
        self, name: str, content: bytes, endpoint: str = IMAGES, extra: ExtraColumns = "refuse", **shared: Any
    ) -> None:
        self.summary = InputSummary()
        options = ReadOptions(endpoint, shared, extra_columns=extra)
        lines = list(parse_lines(name, [content], options, self.summary))
        self.lines = [line for line in lines if isinstance(line, Line)]
        self.errors = [(line["line"], line["message"]) for line in lines if not isinstance(line, Line)]

    @property
    def prompts(self) -> dict[int, str | None]:
        return {line.number: line.request.with_own_prompt().prompt for line in self.lines}

    def values(self, name: str) -> list[Any]:
        return [getattr(line.request.request, name) for line in self.lines]
