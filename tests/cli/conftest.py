"""Keeps the environment of whoever runs the tests out of the commands that they run."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def no_settings_of_our_own() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SAFELIGHT_")]:
            patch.delenv(name)
        yield
