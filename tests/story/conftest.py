"""Fixtures of the stories."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.local.embedded import EmbeddedValkey
from tests.stack import Stack


@pytest.fixture(scope="session")
def guarded(directory: Path, fresh_database: Callable[[], str], valkey: EmbeddedValkey) -> Iterator[Stack]:
    """A Safelight that requires keys, for tests that break nothing."""
    with Stack(directory / "guarded", fresh_database(), valkey.url, SAFELIGHT_AUTH="on") as stack:
        stack.api()
        stack.worker()
        yield stack
