"""Errors in the lines of an input file, and the end of reading that some of them cause."""

from typing import NoReturn

from core.batches.transitions import LineError
from core.errors import InvalidRequest, SafelightError
from core.text import shorten

MAX_MESSAGE_CHARS = 1000
"""Characters of an error message. It may quote a name, which may be as long as the line."""

_CONTROL = {number: f"\\x{number:02x}" for number in (*range(32), 127)}


class EndOfReading(Exception):
    """The rest of the file cannot be split into lines."""

    def __init__(self, error: LineError) -> None:
        super().__init__(error["message"])
        self.error = error


def end(number: int | None, message: str, code: str = InvalidRequest.code) -> NoReturn:
    """Raise EndOfReading. number: of the line, from 1; None: the error is about the file."""
    raise EndOfReading(message_error(number, message, code))


def line_error(number: int | None, error: SafelightError) -> LineError:
    """The error of a line. The text is shortened, and control characters, which Postgres rejects, are escaped."""
    param = None if error.param is None else _shorten(error.param)
    return LineError(line=number, code=error.code, param=param, message=_shorten(error.message))


def message_error(
    number: int | None, message: str, code: str = InvalidRequest.code, param: str | None = None
) -> LineError:
    """An error of a line that has no exception."""
    shortened_param = None if param is None else _shorten(param)
    return LineError(line=number, code=code, param=shortened_param, message=_shorten(message))


def _shorten(text: str) -> str:
    return shorten(text, MAX_MESSAGE_CHARS).translate(_CONTROL)
