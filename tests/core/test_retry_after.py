"""How long a Retry-After asks us to wait."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from core.retry_after import parse_retry_after

DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120), (" 1.5 ", 1.5), ("0", 0), ("999999999999999999", 86_400), ("9" * 400, 86_400)],
)
def test_seconds_are_read_up_to_a_limit(text: str, seconds: float) -> None:
    assert parse_retry_after(text, longest=DAY) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", [None, "", "soon", "-5", "٣", "1e3", "nan", "Sun, 99 Nov 2026 12:02:00 GMT"])
def test_what_cannot_be_read_is_none(text: str | None) -> None:
    assert parse_retry_after(text, longest=DAY) is None


@pytest.mark.parametrize(("offset", "least", "most"), [(100, 90, 100), (-100, 0, 0), (10**7, 86_400, 86_400)])
def test_a_date_is_read_by_our_clock(offset: int, least: int, most: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=offset), usegmt=True)

    wait = parse_retry_after(date, longest=DAY)

    assert wait is not None
    assert least <= wait.total_seconds() <= most


def test_a_date_without_a_zone_is_utc() -> None:
    assert parse_retry_after("Sun, 22 Nov 2020 12:02:00", longest=DAY) == timedelta(0)
