"""Fixtures of the stories."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.local.embedded import EmbeddedValkey
from tests.stack import Stack, free_port

METRICS_TOKEN = "token-of-the-metrics"


@pytest.fixture(scope="session")
def guarded(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    """A Safelight that requires keys, for tests that break nothing."""
    settings = {
        "SAFELIGHT_AUTH": "on",
        "SAFELIGHT_METRICS_TOKEN": METRICS_TOKEN,
        "SAFELIGHT_METRICS_PORT": str(free_port()),
    }
    with Stack(directory / "guarded", fresh_database(), valkey.url, **settings) as stack:
        stack.api()
        stack.worker()
        yield stack
