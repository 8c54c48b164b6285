"""Text from clients, without the control characters that Postgres rejects or a terminal would interpret.

`quote` and `shorten` keep messages short that contain such text.
"""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_UNSTORABLE = re.compile("[\\x00\ud800-\udfff]")
"""Characters that JSON may contain and Postgres rejects: NUL, and lone surrogates."""

PRINTABLE = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
"""The same rule as a pattern for a JSON schema."""


MAX_QUOTE_CHARS = 100
"""Characters of a client's text that an error message quotes."""


def shorten(text: str, limit: int = MAX_QUOTE_CHARS) -> str:
    """The beginning of a text, as messages quote it. It ends with an ellipsis if the text is longer than `limit`.

    A lone surrogate becomes a question mark: no message could be encoded with it.
    """
    beginning = text if len(text) <= limit else text[:limit] + "…"
    return beginning.encode(errors="replace").decode()


def quote(text: str | None) -> str:
    """A text in quotes, shortened."""
    return repr(None if text is None else shorten(text))


def check_printable(text: str) -> str:
    """Return the text. Raises ValueError if it has a control character other than tab and line ends."""
    if match := _CONTROL.search(text):
        raise ValueError(f"must not contain the control character U+{ord(match[0]):04X}")
    return text


def storable(value: Any) -> Any:
    """A value of JSON as Postgres accepts it, for what libraries and providers say.

    NUL and lone surrogates become U+FFFD, numbers that are not finite become null.
    """
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", value)
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    return [storable(item) for item in value] if isinstance(value, list | tuple) else value


Text = Annotated[str, AfterValidator(check_printable), Field(json_schema_extra={"pattern": PRINTABLE})]
