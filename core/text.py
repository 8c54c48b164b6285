"""Text from clients, without the control characters that Postgres rejects or a terminal would interpret."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

PRINTABLE = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"
"""The same rule as a pattern for a JSON schema."""


def check_printable(text: str) -> str:
    """Return the text. Raises ValueError if it has a control character other than tab and line ends."""
    if match := _CONTROL.search(text):
        raise ValueError(f"must not contain the control character U+{ord(match[0]):04X}")
    return text


Text = Annotated[str, AfterValidator(check_printable), Field(json_schema_extra={"pattern": PRINTABLE})]
