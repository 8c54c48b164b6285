"""How an input file was read: what Safelight concluded about it, and the owner should know."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Format = Literal["jsonl", "csv", "txt", "xlsx"]


@dataclass(slots=True)
class InputSummary:
    """Filled while a file is read.

    format: None until it is known. encoding: of a text. example: if the encoding is a guess, a text that shows whether
    it is right. separator: of the cells of CSV. sheet: the name of the worksheet. has_header: of a table.
    header_errors: errors that are no lines.
    """

    format: Format | None = None
    encoding: str | None = None
    encoding_is_guess: bool = False
    example: str | None = None
    separator: str | None = None
    sheet: str | None = None
    has_header: bool | None = None
    empty_rows: int = 0
    metadata_columns: list[str] = field(default_factory=list)
    header_errors: int = 0

    def as_json(self, *, with_example: bool = True) -> dict[str, Any] | None:
        """The JSON of the database; None if nothing was read.

        with_example: False for a batch that has jobs, as the erasure of a job does not reach this text.
        """
        if self.format is None:
            return None
        return asdict(self) if with_example else asdict(self) | {"example": None}
