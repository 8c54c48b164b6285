"""Every request gets an id: in the response's `x-request-id`, in the scope, and in all lines that it logs."""

import re
from collections.abc import Iterable

from core.ids import new_id

_VALID_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """A valid `x-request-id` of the client, so that its traces and our log match, or a new id."""
    for name, value in headers:
        if name == b"x-request-id" and _VALID_ID.fullmatch(value):
            return bytes(value).decode()
    return new_id("req")
