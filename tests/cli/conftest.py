"""Keeps the developer's own settings out of the commands that the tests run."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.terminal import Terminal
from tests.stack import Stack


@pytest.fixture(scope="package", autouse=True)
def no_settings_of_our_own() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SAFELIGHT_")]:
            patch.delenv(name)
        yield


@pytest.fixture
def terminal(safelight: Stack, tmp_path: Path) -> Terminal:
    """In an empty directory, with settings that say where the Safelight of the session is."""
    (tmp_path / "here").mkdir()
    return Terminal(tmp_path / "here", safelight.port)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """A shell that starts the tests in the background hands on an ignored SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
