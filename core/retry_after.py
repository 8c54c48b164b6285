"""The header Retry-After: how long another server asks us to wait."""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


def parse_retry_after(text: str | None, *, longest: timedelta) -> timedelta | None:
    """The wait that a header asks for, as seconds or as a date (RFC 9110, section 10.2.3), but not above `longest`.

    None where there is no header, or none that can be read.
    """
    if text is None:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=min(float(text), longest.total_seconds()))
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    wait = (date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime.now(UTC)
    return min(max(wait, timedelta(0)), longest)
