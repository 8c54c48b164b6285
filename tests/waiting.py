"""How long tests wait: one budget for every wait, which a slow machine can raise."""

import os
import threading
import time
from collections.abc import Callable

FACTOR = float(os.environ.get("SAFELIGHT_TEST_PATIENCE", "1"))
"""How much slower this machine is than an idle one. It multiplies every wait, lease and timeout of the tests."""

PATIENCE = 120.0 * FACTOR
"""Seconds after which an event that should have happened counts as missing. No test depends on how soon it happens."""


def until(condition: Callable[[], object]) -> None:
    """Check until a condition holds. For state that nothing announces."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not so within {PATIENCE:g} seconds"
        threading.Event().wait(0.02)
