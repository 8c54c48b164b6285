"""Identifiers: a prefix that says what it names, then 26 characters that sort by time.

The 26 characters are a UUIDv7's layout (RFC 9562 §5.7: 48 bits of milliseconds, then randomness) in Crockford's
base 32 in small letters, so that ids of one kind sort by the millisecond they were made in, across processes.
"""

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""What ten bits are written as: an id in half the steps, as batches make them by the thousand."""

_SHIFTS = range(120, -1, -10)


def new_id(prefix: str, separator: str = "_") -> str:
    """Make an id such as `job_01kc3m9w8yq6k0v2t5x7z1b4dn`. OpenAI's files are set off by a hyphen."""
    number = (time.time_ns() // 1_000_000) << 82 | secrets.randbits(82)
    return f"{prefix}{separator}" + "".join([_PAIRS[(number >> shift) & 1023] for shift in _SHIFTS])


def id_pattern(prefix: str, separator: str = "_") -> str:
    """A regular expression for the ids of one kind."""
    return f"^{prefix}{separator}[{_ALPHABET}]{{26}}$"
