"""Identifiers: a prefix for the type, then 26 characters that sort by time.

As in a ULID, the characters are 48 bits of milliseconds and 80 bits of randomness in Crockford's base 32, here in lower
case. Events and deliveries have ids of another form, which the database generates: see `EVENT_ID` in
`core/tables/base.py`.
"""

import secrets
import time
from collections.abc import Iterator

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""The characters of ten bits. Two characters in one step: a batch needs thousands of ids."""

_SHIFTS = range(120, -1, -10)


def new_id(prefix: str, separator: str = "_") -> str:
    """Generate an id such as `job_01kc3m9w8yq6k0v2t5x7z1b4dn`. Ids of files have a hyphen, as at OpenAI."""
    number = (time.time_ns() // 1_000_000) << 82 | secrets.randbits(82)
    return f"{prefix}{separator}" + "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


def new_ids(prefix: str) -> Iterator[str]:
    """Generate ids without end. Of 1024 of them, only the last two characters differ: they are in ascending order."""
    while True:
        head = new_id(prefix)[:-2]
        for pair in _PAIRS:
            yield head + pair


def derived_id(prefix: str, identifier: str) -> str:
    """The id of an object that is another view of the same thing: an image call (`ig`) and its response have that of
    their job, with another prefix.
    """
    return f"{prefix}_{identifier.partition('_')[2]}"


def id_pattern(prefix: str, separator: str = "_") -> str:
    """A regular expression for the ids of one kind."""
    return f"^{prefix}{separator}[{_ALPHABET}]{{26}}$"
