"""A line of an input file, and the options for reading files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from core.batches.line_parser import LineRequest
from core.batches.requests import ExtraColumns


class Line(NamedTuple):
    """A valid line."""

    number: int  # from 1, in the file
    custom_id: str
    request: LineRequest


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading a file.

    meanwhile: called from time to time before the first line, which may take seconds.
    """

    endpoint: str
    shared_parameters: Mapping[str, Any] = field(default_factory=dict)
    max_bytes: int = 1_000_000  # of a line
    extra_columns: ExtraColumns = "refuse"
    meanwhile: Callable[[], None] = lambda: None
